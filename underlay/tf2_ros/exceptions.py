"""Why a transform could not be given; the classes of tf2."""


class TransformException(Exception):
    """Base of the others."""


class LookupException(TransformException):
    """A frame that nobody ever published."""


class ConnectivityException(TransformException):
    """Both frames exist, but no chain of transforms joins them."""


class ExtrapolationException(TransformException):
    """The frames are joined, but not at the time asked for."""


class InvalidArgumentException(TransformException):
    """A frame name that is empty or begins with a slash."""
