"""The control socket: who asks, whether they may, what is done, and what is answered."""
