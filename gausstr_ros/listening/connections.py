"""Which endpoints of other nodes do not fit ours.

Looked at from time to time: an event handler at each of our endpoints costs the executor's thread
more than the images themselves, as rclpy asks all of them at every message (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

_NO_LIMIT = 2**63 - 1
LATCHED = QoSProfile(
    depth=5,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


def unheard_publishers(node: Node, subscription: Any) -> dict[tuple[int, ...], str]:
    """Publishers that one of our subscriptions cannot hear: their id -> the policy at fault."""
    ours = subscription.qos_profile
    found = node.get_publishers_info_by_topic(subscription.topic_name)
    return _faults((info, misfit(info.qos_profile, ours)) for info in found)


def unserved_subscriptions(node: Node, publisher: Any) -> dict[tuple[int, ...], str]:
    """Subscriptions that one of our publishers cannot serve: their id -> the policy at fault."""
    ours = publisher.qos_profile
    found = node.get_subscriptions_info_by_topic(publisher.topic_name)
    return _faults((info, misfit(ours, info.qos_profile)) for info in found)


def is_latched(node: Node, topic: str) -> bool:
    """Whether a publisher of a topic keeps what it has sent for those who subscribe late."""
    profiles = (info.qos_profile for info in node.get_publishers_info_by_topic(topic))
    # one that is best effort sends nothing again
    return any(not misfit(offered, LATCHED) for offered in profiles)


def misfit(offered: QoSProfile, asked: QoSProfile) -> str:
    """The first policy by which a publisher and a subscription do not fit, empty where they do.

    Not `qos_check_compatible`: it takes a profile that leaves a time open, as ours do, for one
    that promises nothing, and the same time as the graph tells it, infinite, for a demand.
    """
    if (offered.reliability, asked.reliability) == (
        ReliabilityPolicy.BEST_EFFORT,
        ReliabilityPolicy.RELIABLE,
    ):
        return 'reliability'
    if (offered.durability, asked.durability) == (
        DurabilityPolicy.VOLATILE,
        DurabilityPolicy.TRANSIENT_LOCAL,
    ):
        return 'durability'
    if _nanoseconds(offered.deadline) > _nanoseconds(asked.deadline):
        return 'deadline'
    manual = LivelinessPolicy.MANUAL_BY_TOPIC
    if asked.liveliness == manual != offered.liveliness or _nanoseconds(
        offered.liveliness_lease_duration
    ) > _nanoseconds(asked.liveliness_lease_duration):
        return 'liveliness'
    return ''


def _nanoseconds(time: Duration) -> int:
    """Both ways to say that there is no limit as one."""
    return time.nanoseconds if 0 < time.nanoseconds < _NO_LIMIT else _NO_LIMIT


def _faults(found: Iterable[tuple[Any, str]]) -> dict[tuple[int, ...], str]:
    return {tuple(info.endpoint_gid): policy for info, policy in found if policy}
