"""Forward what the core logs with `logging` to the logger of a node, and so to /rosout."""

from __future__ import annotations

import logging

from rclpy.impl.rcutils_logger import RcutilsLogger

PACKAGES = ('gausstr_core', 'gausstr_ros', 'tf2_ros')


class RosHandler(logging.Handler):
    """Passes records on; while it is installed they go nowhere else.

    Use it as a context: `with RosHandler(node.get_logger()): ...`.
    """

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__()
        self._logger = logger
        self.setFormatter(logging.Formatter('%(message)s'))

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record with the severity of the same name."""
        text = f'{self.format(record)} [{record.name}]'
        # rclpy remembers the severity per line of code, so each one needs its own line
        if record.levelno >= logging.CRITICAL:
            self._logger.fatal(text)
        elif record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)

    def __enter__(self) -> RosHandler:
        """Install for the packages of this project."""
        for name in PACKAGES:
            logger = logging.getLogger(name)
            logger.addHandler(self)
            logger.setLevel(self._logger.get_effective_level())  # numbers are Python's
            logger.propagate = False
        return self

    def __exit__(self, *error: object) -> None:
        """Take out again."""
        for name in PACKAGES:
            logging.getLogger(name).removeHandler(self)
            logging.getLogger(name).propagate = True
