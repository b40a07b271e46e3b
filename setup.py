"""Packaging: version ranges, and configs and tools carried for mim."""
import os
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM_PARTS = ('configs', 'tools', 'model-index.yml')


def read_version() -> str:
    """The version, without importing the package and its dependencies."""
    scope = {}
    exec((ROOT / 'cosam_mm' / 'version.py').read_text(encoding='utf-8'), scope)
    return scope['__version__']


class BuildWithMim(build_py):
    """Puts configs, tools and the model index where mim looks: ``.mim``.

    A wheel gets copies. An editable installation gets links, so that a change
    in the checkout is seen at once.
    """

    def run(self) -> None:
        """Build the package and add ``.mim``."""
        super().run()
        editable = getattr(self, 'editable_mode', False)
        base = ROOT if editable else Path(self.build_lib)
        target = base / 'cosam_mm' / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for part in MIM_PARTS:
            source = ROOT / part
            if editable:
                (target / part).symlink_to(os.path.relpath(source, target))
            elif source.is_dir():
                shutil.copytree(source, target / part,
                                ignore=shutil.ignore_patterns('__pycache__'))
            else:
                shutil.copy2(source, target / part)


ACTION = [
    'mmaction2>=1.2,<1.3',
    'transformers>=4.40,<6',
    'decord>=0.6',
    'scipy>=1.9',
    'tqdm>=4.60',
]

setup(
    name='cosam_mm',
    version=read_version(),
    description='Co-segmentation attention (COSAM) for video, as an OpenMMLab '
    'plugin: action recognition and person re-identification',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['cosam_mm', 'cosam_mm.*']),
    python_requires='>=3.9',
    install_requires=[
        'torch>=2.1',
        'mmengine>=0.10.4,<1',
        'numpy>=1.23',
    ],
    extras_require={
        'action': ACTION,
        # Only for environments without mmcv: both fill the same folder, so this
        # would overwrite a full mmcv.
        'mmcv-lite': ['mmcv-lite>=2.0.0,<2.2'],
        'tests': [*ACTION, 'pytest>=7.4', 'ruff>=0.4'],
    },
    cmdclass={'build_py': BuildWithMim},
    classifiers=[
        'License :: OSI Approved :: Apache Software License',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
)
