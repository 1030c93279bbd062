"""A process in an enclave that opens what it is told to: publish, subscribe or call.

python secured.py ENCLAVE NODE (publish|subscribe) TOPIC... prints `[allowed TOPIC]` or
`[refused TOPIC]`, which may stand in the middle of DDS' own lines; python secured.py ENCLAVE NODE
state waits until /gausstr is active.
"""

from __future__ import annotations

import sys
import time

import rclpy
from lifecycle_msgs.srv import GetState
from std_msgs.msg import String


def main(enclave: str, name: str, verb: str, *topics: str) -> None:
    """Do what the command line says."""
    rclpy.init(args=['--ros-args', '--enclave', enclave])
    node = rclpy.create_node(name)
    if verb == 'state':
        print(f'[{_wait_active(node)}]')
    for topic in topics:
        try:
            if verb == 'publish':
                node.create_publisher(String, topic, 1)
            else:
                node.create_subscription(String, topic, print, 1)
        except Exception as error:  # rclpy has no public class for it
            print(f'[refused {topic}]', type(error).__name__)
        else:
            print(f'[allowed {topic}]')


def _wait_active(node: rclpy.node.Node, timeout: float = 60.0) -> str:
    client = node.create_client(GetState, '/gausstr/get_state')
    end = time.monotonic() + timeout
    label = 'silent'
    while time.monotonic() < end and label != 'active':
        if client.wait_for_service(1.0):
            future = client.call_async(GetState.Request())
            rclpy.spin_until_future_complete(node, future, timeout_sec=2.0)
            label = future.result().current_state.label if future.done() else 'silent'
    return label


if __name__ == '__main__':
    main(*sys.argv[1:])
