"""Which endpoints of other nodes do not fit ours.

Looked at from time to time: an event handler at each of our endpoints costs the executor's thread
more than the images themselves, as rclpy asks all of them at every message (docs/benchmarks.md).
"""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
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


def misfit(offered: QoSProfile, asked: QoSProfile) -> str:
    """Why a publisher and a subscription do not fit, empty where they do."""
    compatibility, reason = qos_check_compatible(offered, asked)
    if compatibility != QoSCompatibility.ERROR:
        return ''
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
    return f'QoS ({reason})'


def _faults(found: Any) -> dict[tuple[int, ...], str]:
    return {tuple(info.endpoint_gid): policy for info, policy in found if policy}
