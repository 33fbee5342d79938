# What cffi generates from mediator.h; vgpud.mediator gives it types.
from typing import Any

ffi: Any
lib: Any
