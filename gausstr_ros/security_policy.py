"""gausstr-policy: the SROS2 policy of the node, with no more rights than its rig needs.

The enclave may publish and hear exactly the topics of the node and answer its services; it may
call no service. docs/security.md has the commands around it.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from rclpy.exceptions import InvalidNamespaceException
from rclpy.validate_namespace import validate_namespace

from gausstr_core.process.command_line import refuse_misplaced
from gausstr_core.process.reasons import told
from gausstr_ros.publishing.outputs import Outputs
from gausstr_ros.settings.parameter_file import full_name, read_parameter_file
from gausstr_ros.settings.settings import Settings, read_settings

# What rclpy, tf2_ros and the lifecycle open besides the node's own.
_PUBLISHED = ('/diagnostics', '/parameter_events', '/rosout', '~/categories', '~/transition_event')
_HEARD = ('/tf', '/tf_static')
_SERVICES = (
    'change_state',
    'clear_memory',
    'describe_parameters',
    'get_available_states',
    'get_available_transitions',
    'get_categories',
    'get_parameter_types',
    'get_parameters',
    'get_state',
    'get_transition_graph',
    'get_type_description',
    'list_parameters',
    'set_categories',
    'set_parameters',
    'set_parameters_atomically',
)
_NAME = re.compile(r'(~/|/)?\w+(/\w+)*', re.ASCII)
EXAMPLE = """\
examples:
  gausstr-policy > gausstr.policy.xml
  gausstr-policy --params-file my_rig.yaml --namespace robot --output robot.policy.xml
  ros2 security create_permission keystore /gausstr gausstr.policy.xml
"""


def policy(settings: Settings, namespace: str = '', *, sim_time: bool = False) -> str:
    """The policy as XML, for the enclave <namespace>/gausstr.

    Args:
        settings: of the node; the cameras' topics come from them.
        namespace: of the node.
        sim_time: let it hear /clock.

    Raises:
        ValueError: a name is no topic; DDS would take * and ? for wildcards.
    """
    place = full_name(namespace).rpartition('/')[0] or '/'
    try:
        validate_namespace(place)
    except InvalidNamespaceException as error:
        reason = str(error).partition('\n')[0]
        raise ValueError(f'--namespace {namespace!r} is none: {reason}') from error
    heard = [*_HEARD, *(['/clock'] if sim_time else [])]
    heard += settings.lidar_topics
    for camera in settings.cameras:
        heard += [camera.image_topic, camera.camera_info_topic]
        heard += [camera.depth_topic] if settings.depth_images else []
    published = [*_PUBLISHED, *(f'~/{name}' for name in Outputs(settings).types)]
    root = ET.Element('policy', version='0.2.0')
    enclave = ET.SubElement(
        ET.SubElement(root, 'enclaves'), 'enclave', path=f'{place.rstrip("/")}/gausstr'
    )
    profile = ET.SubElement(
        ET.SubElement(enclave, 'profiles'), 'profile', ns=place, node='gausstr'
    )
    _add(profile, 'topic', published, publish='ALLOW')
    _add(profile, 'topic', heard, subscribe='ALLOW')
    _add(profile, 'service', (f'~/{name}' for name in _SERVICES), reply='ALLOW')
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _add(profile: ET.Element, kind: str, names: Iterable[str], **rights: str) -> None:
    group = ET.SubElement(profile, f'{kind}s', rights)
    for name in sorted(set(names)):
        if not _NAME.fullmatch(name):
            raise ValueError(f'{name!r} is no topic: expected letters, digits, _ and /')
        ET.SubElement(group, kind).text = name


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    result = argparse.ArgumentParser(
        prog='gausstr-policy',
        description='Write the SROS2 policy of the node for a rig.',
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        '--params-file',
        type=Path,
        metavar='FILE',
        help="the node's parameters, such as a rig file (default: the rig of nuScenes)",
    )
    result.add_argument(
        '--namespace',
        default='',
        help='of the node, such as robot or /fleet/robot (default: none)',
    )
    result.add_argument('--sim-time', action='store_true', help='let it hear /clock')
    result.add_argument(
        '--output', type=Path, metavar='FILE', help='file to write (default: standard output)'
    )
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    try:
        refuse_misplaced(options, files=['--params-file', '--output'])
        values = {}
        if options.params_file:
            values = read_parameter_file(options.params_file, full_name(options.namespace))
        text = policy(read_settings(values), options.namespace, sim_time=options.sim_time)
        if options.output is None:
            sys.stdout.write(text)
        else:
            aside = options.output.with_name(f'.{options.output.name}.partial')
            aside.write_text(text)
            os.replace(aside, options.output)
    except (ValueError, OSError) as error:
        raise SystemExit(f'gausstr-policy: {told(error)}') from None


if __name__ == '__main__':
    main()
