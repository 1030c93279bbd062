"""Training, evaluation and synthetic streets for GaussTR; never imports rclpy."""
