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


def copy_part(source: Path, target: Path) -> None:
    """Copy a file, or a folder without what Python left in it."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__'))
    else:
        shutil.copy2(source, target)


class BuildWithMim(build_py):
    """Puts configs, tools and the model index where mim looks: ``.mim``.

    A wheel gets copies. An editable installation gets links, so that a change
    in the checkout is seen at once.
    """

    def run(self) -> None:
        """Build the package and add ``.mim``."""
        editable = getattr(self, 'editable_mode', False)
        package = (ROOT if editable else Path(self.build_lib).resolve()) / 'cosam_mm'
        target = package / '.mim'
        # A module that is no more would be packed from an earlier build.
        in_place = package == ROOT / 'cosam_mm'
        shutil.rmtree(target if in_place else package, ignore_errors=True)
        super().run()
        target.mkdir(parents=True)
        for part in MIM_PARTS:
            if editable:
                (target / part).symlink_to(os.path.relpath(ROOT / part, target))
            else:
                copy_part(ROOT / part, target / part)


# Figures, the report's page, and its masks as MP4 files.
PICTURES = ['matplotlib>=3.6', 'Jinja2>=3.1', 'pillow>=9.2', 'av>=15']
REID = ['scipy>=1.9', 'tqdm>=4.60', *PICTURES]
ACTION = [
    'mmaction2>=1.2,<1.3',
    'transformers>=4.46,<6',
    'decord>=0.6',  # MMAction2 asks for it
    *REID,
]
# Writing ONNX files and running them; torch.export programs need torch alone.
DEPLOY = ['onnx>=1.17', 'onnxscript>=0.6.2', 'onnxruntime>=1.20', 'tqdm>=4.60']
# Earlier versions of FAISS do not work with numpy 2.
SEARCH = ['faiss-cpu>=1.9']

setup(
    name='cosam_mm',
    version=read_version(),
    description='Co-segmentation attention (COSAM) for video, as an OpenMMLab '
    'plugin: action recognition and person re-identification',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    packages=find_packages(include=['cosam_mm', 'cosam_mm.*']),
    entry_points={'console_scripts': ['cosam-mm = cosam_mm.__main__:main']},
    package_data={'cosam_mm.visualization.report': ['*.j2', '*.css', '*.js']},
    python_requires='>=3.9',
    install_requires=[
        'torch>=2.6',
        'mmengine>=0.10.6,<1',
        'numpy>=1.23',
    ],
    extras_require={
        'action': ACTION,
        'reid': REID,
        'deploy': DEPLOY,
        # A search engine for galleries of millions of tracklets.
        'search': [*REID, *SEARCH],
        # Only for environments without mmcv: both fill the same folder, so this
        # would overwrite a full mmcv.
        'mmcv-lite': ['mmcv-lite>=2.0.0,<2.2'],
        'tests': [
            *ACTION, *DEPLOY, *SEARCH,
            # Whose backbones COSAM is tried in.
            'mmpretrain>=1.2,<1.3', 'timm>=0.9', 'torchvision>=0.21',
            # Run the notebook of the documents, in a kernel as its reader does.
            'ipykernel>=6.29', 'nbclient>=0.10',
            # Opens reports in a Chromium that is there, and downloads none.
            'playwright>=1.40',
            # The tests' files, shared out among the cores.
            'pytest-xdist>=3.7',
            'hypothesis>=6.100', 'packaging>=21', 'pytest>=7.4', 'ruff>=0.4',
            'setuptools>=70.1'
        ],
    },
    cmdclass={'build_py': BuildWithMim},
    classifiers=[
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
)
