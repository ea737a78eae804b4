"""Automatic memory ballooning for QEMU/KVM hosts."""

__version__ = "0.1.0"
