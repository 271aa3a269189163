"""Installs the library; see the README for the two commands that do it."""

import os

from setuptools import find_packages, setup

HERE = os.path.dirname(os.path.abspath(__file__))


def requirements(name):
    with open(os.path.join(HERE, name), encoding='utf-8') as file:
        lines = [line.split('#')[0].strip() for line in file]
    return [line for line in lines if line and not line.startswith('-')]


def version():
    with open(os.path.join(HERE, 'chainer_impression', '__init__.py'),
              encoding='utf-8') as file:
        line, = (l for l in file if l.startswith('__version__'))
    return line.split("'")[1]


with open(os.path.join(HERE, 'README.md'), encoding='utf-8') as readme:
    long_description = readme.read()

setup(
    name='chainer-impression',
    version=version(),
    description='Deep Impression: audiovisual deep residual networks for '
                'apparent personality, in Chainer',
    long_description=long_description,
    long_description_content_type='text/markdown',
    license='MIT',
    python_requires='>=3.10,<3.14',
    packages=find_packages(include=['chainer_impression*', 'data_prep*']),
    package_data={'chainer_impression.report': ['page.html', 'page.css']},
    install_requires=requirements('requirements.txt'),
    extras_require={
        'cpu': requirements('requirements-cpu.txt'),
        'gpu': requirements('requirements-gpu.txt'),
        'test': ['pytest>=7', 'onnxruntime>=1.19'],
    },
)
