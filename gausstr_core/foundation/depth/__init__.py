"""Networks and sensors that give depth. One file each."""
