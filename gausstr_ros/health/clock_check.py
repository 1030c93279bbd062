"""Whether the node's clock and the stamps of the images are of one time."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus

from gausstr_ros.health.stream_health import status

# Seconds between an image's stamp and the clock, as it comes, that no latency explains.
CLOCKS_APART = 10.0


def clock_status(node: str, now: int, behind: float | None, *, sim_time: bool) -> DiagnosticStatus:
    """The status of the clock; a mismatch is a warning with what to do about it.

    Args:
        node: full name of the node, as for `status`.
        now: the node's ROS time in nanoseconds; 0: simulated time that has not come yet.
        behind: seconds by which the last images were behind the clock as they came; not by now,
            as cameras may stop while the clock goes on. None before the first.
        sim_time: whether use_sim_time is set.
    """
    values = {'use_sim_time': str(sim_time).lower(), 'time': f'{now / 1e9:.3f}'}
    if behind is not None:
        values['images behind the clock [s]'] = f'{behind:.3f}'
    text = _mismatch(now, behind or 0.0, sim_time=sim_time)
    level = DiagnosticStatus.WARN if text else DiagnosticStatus.OK
    return status(node, 'clock', level, text or 'ok', values)


def _mismatch(now: int, behind: float, *, sim_time: bool) -> str:
    if sim_time and now == 0:
        return (
            'use_sim_time is true, but nothing comes on /clock: play the bag with --clock, or set '
            'use_sim_time to false'
        )
    if abs(behind) <= CLOCKS_APART:
        return ''
    where = f'the images are {abs(behind):.0f} s {"behind" if behind > 0 else "ahead of"}'
    if sim_time:
        return (
            f'{where} /clock: they are stamped by another clock; set use_sim_time where they are '
            'stamped, or set it to false here'
        )
    return (
        f"{where} this machine's clock: of a recording, play it with --clock and set use_sim_time "
        'to true; else let one source (NTP, PTP) set the clocks of cameras and machine'
    )
