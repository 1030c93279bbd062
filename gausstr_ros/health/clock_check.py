"""Whether the node's clock and the stamps of the images are of one time."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus

from gausstr_ros.health.camera_health import status

# Seconds between the newest stamp and the clock that no latency explains.
CLOCKS_APART = 10.0


def clock_status(now: int, stamp: int | None, *, sim_time: bool) -> DiagnosticStatus:
    """The status of the clock; a mismatch is a warning with what to do about it.

    Args:
        now: the node's ROS time in nanoseconds; 0: simulated time that has not come yet.
        stamp: of the newest image, in nanoseconds; None before the first.
        sim_time: whether use_sim_time is set.
    """
    values = {'use_sim_time': str(sim_time).lower(), 'time': f'{now / 1e9:.3f}'}
    if stamp is not None:
        values['images behind the clock [s]'] = f'{(now - stamp) / 1e9:.3f}'
    text = _mismatch(now, stamp, sim_time=sim_time)
    level = DiagnosticStatus.WARN if text else DiagnosticStatus.OK
    return status('gausstr: clock', level, text or 'ok', values)


def _mismatch(now: int, stamp: int | None, *, sim_time: bool) -> str:
    if sim_time and now == 0:
        return (
            'use_sim_time is true, but nothing comes on /clock: play the bag with --clock, or set '
            'use_sim_time to false'
        )
    behind = 0.0 if stamp is None else (now - stamp) / 1e9
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
