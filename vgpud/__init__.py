"""vgpud: many virtual machines and host jobs share one GPU through logical pools."""

__version__ = "0.1.0"
