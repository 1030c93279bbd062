"""Networks that give text-aligned features. One file each."""
