"""What a config out of a file may build: listed types, with listed arguments.

Anybody may have written the file, and OpenMMLab's packages register hundreds of classes
that open what their arguments name: some unpickle it, some download it first. So a
type counts that is listed here, with arguments that are listed with it, and values
that name no file, address, module or scope; and it counts as the class that was meant,
where a project in this process has one of the same name. A config file that the user
passes is not looked at.
"""
import re
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from typing import Any, Optional

from mmengine import registry as _registries

__all__ = ['UnlistedType', 'refuse_unlisted', 'restrict_types']

# Packages whose classes the names below stand for.
_READ = frozenset(('cosam_mm', 'mmaction', 'mmcv', 'mmdet', 'mmengine', 'mmpretrain',
                   'timm', 'torch', 'torchvision'))
_OURS = 'cosam_mm.'
# Scope -> the distribution that has it.
_SCOPES = {'mmaction': 'mmaction2', 'mmpretrain': 'mmpretrain', 'mmdet': 'mmdet'}
_INIT = 'init_cfg'
_HEAD = ('num_classes in_channels temporal dropout_ratio topk average_clips loss_cls '
         'multi_class label_smooth_eps spatial_type consensus init_std ' + _INIT)
_RESNET = ('depth in_channels stem_channels base_channels num_stages out_indices '
           'strides dilations style deep_stem avg_down frozen_stages conv_cfg norm_cfg '
           'act_cfg norm_eval partial_bn with_cp zero_init_residual drop_path_rate '
           'se_ratio expansion torchvision_pretrain ' + _INIT)
_RESNET_3D = _RESNET + (
    ' stage_blocks pretrained2d spatial_strides temporal_strides conv1_kernel '
    'conv1_stride_s conv1_stride_t pool1_stride_s pool1_stride_t with_pool1 with_pool2 '
    'inflate inflate_style non_local non_local_cfg lateral lateral_inv lateral_norm '
    'lateral_infl lateral_activate speed_ratio channel_ratio fusion_kernel')
_OWN_BACKBONE = ('depth in_channels base_channels plugins frozen_stages norm_eval '
                 'with_cp ' + _INIT)
_ACTION_DATA = ('data_root ann_file data_prefix pipeline num_classes multi_class '
                'test_mode modality indices serialize_data lazy_init max_refetch '
                'filename_tmpl start_index with_offset')
_TRACKLETS = ('data_root subset pipeline test_mode name min_frames expected_counts '
              'force indices serialize_data lazy_init max_refetch ')
_NORM = 'requires_grad eps momentum affine num_groups'
_READING = 'num_threads on_unreadable blank_size time_limit white_level transforms'

# Types -> arguments that may come from a file, besides a ``pretrained`` that is off.
# Each class of these names was read: it opens nothing by way of these arguments but
# what data sets list, as text, and weights from the addresses in _VALUES.
_LISTED = {
    # models of this package
    'COSAM': 'in_channels num_frames spatial_size reduction_channels summary_channels '
             'with_spatial with_channel eps any_size num_references trained_size '
             + _INIT,
    'PluggedBackbone': 'backbone input_shape plugins out_index',
    'ClipAdapter': 'module num_frames in_channels ' + _INIT,
    'FrameResNet FrameSEResNet': _OWN_BACKBONE + ' last_stride ibn reduction',
    'I3D ResNeXt3D': _OWN_BACKBONE + ' groups feature_reduction reduced_channels',
    'CLIPVision': 'hidden_channels num_layers num_heads ffn_channels patch_size '
                  'pretrain_size hidden_act out_type frozen_stages with_cp ' + _INIT,
    'BERTHead LSTMHead MeanHead': _HEAD + ' num_tokens hidden_channels num_layers',
    'VideoReID': 'backbone aggregation head losses frame_wise max_clips_per_forward '
                 'data_preprocessor neck ' + _INIT,
    'TrackletPreprocessor': 'mean std non_blocking',
    'TemporalAttentionAggregation TemporalPoolAggregation TemporalRNNAggregation':
        'in_channels spatial_size middle_channels hidden_channels ' + _INIT,
    'BNNeck IdentityHead': 'in_channels num_pids bias ' + _INIT,
    'BatchHardTripletLoss CircleLoss CenterLoss IdentityLoss':
        'margin scale in_channels num_pids label_smoothing loss_weight '
        'across_processes',
    # models of mmaction2, mmpretrain and mmdet
    'Recognizer2D Recognizer3D':
        'backbone cls_head neck train_cfg test_cfg data_preprocessor',
    'ActionDataPreprocessor ClsDataPreprocessor DetDataPreprocessor':
        'mean std to_rgb bgr_to_rgb to_float32 blending format_shape pad_size_divisor',
    'ResNet SEResNet': _RESNET,
    'ResNetTSM': _RESNET_3D + ' num_segments is_shift shift_div shift_place '
                 'temporal_pool',
    'ResNet3d ResNet3dSlowOnly ResNet2Plus1d': _RESNET_3D,
    'SwinTransformer3D VisionTransformer':
        'arch img_size pretrained2d patch_size in_channels embed_dims depth num_heads '
        'window_size mlp_ratio qkv_bias qk_scale drop_rate attn_drop_rate init_values '
        'drop_path_rate act_cfg norm_cfg patch_norm frozen_stages with_cp out_indices '
        'out_after_downsample use_learnable_pos_emb num_frames tubelet_size '
        'use_mean_pooling return_feat_map ' + _INIT,
    'I3DHead TSNHead TimeSformerHead': _HEAD,
    'TSMHead': _HEAD + ' num_segments is_shift temporal_pool',
    'AvgConsensus GlobalAveragePooling': 'dim',
    'ImageClassifier': 'backbone neck head train_cfg data_preprocessor ' + _INIT,
    'LinearClsHead': 'num_classes in_channels loss topk cal_acc ' + _INIT,
    'FCOS': 'backbone neck bbox_head train_cfg test_cfg data_preprocessor ' + _INIT,
    'FPN': 'in_channels out_channels num_outs start_level add_extra_convs ' + _INIT,
    'FCOSHead': 'num_classes in_channels feat_channels stacked_convs strides '
                + _INIT,
    'CrossEntropyLoss': 'loss_weight use_sigmoid',
    'MixupBlending CutmixBlending': 'num_classes alpha',
    'RandomBatchAugment': 'augments probs',
    # layers and first weights of mmengine and mmcv
    'BN BN1d BN2d BN3d SyncBN GN LN': _NORM,
    'ReLU GELU LeakyReLU': 'inplace negative_slope',
    'Conv1d Conv2d Conv3d Conv2plus1d': 'bias',
    'mmcv.cnn.NonLocal3d NonLocal3d':
        'in_channels reduction use_scale mode sub_sample conv_cfg norm_cfg',
    'Constant Normal TruncNormal Xavier Kaiming': 'layer val bias std mean gain '
                                                  'distribution a nonlinearity mode',
    'Pretrained PretrainedCLIP': 'checkpoint',
    # data sets of tests, and what reads and shapes their clips
    'ActionVideoDataset ActionFrameDataset': _ACTION_DATA + ' name split subset',
    'VideoDataset RawframeDataset': _ACTION_DATA,
    'MARS DukeMTMCVideoReID ILIDSVID PRID2011 TrackletFolder': _TRACKLETS + (
        'query_in_gallery check_images split split_convention split_file '
        'train_fraction seed person_split layout'),
    'QueryGalleryDataset': 'query gallery lazy_init',
    'SafeDecordInit SafeDecordDecode SafeRawFrameDecode LoadTrackletFrames': _READING,
    'SampleFrames UniformSample':
        'clip_len frame_interval num_clips temporal_jitter twice_sample test_mode '
        'out_of_bound_opt keep_tail_frames target_fps',
    'SampleTrackletFrames': 'num_frames mode',
    'Resize ResizeFrames': 'scale keep_ratio interpolation lazy size',
    'CenterCrop TenCrop ThreeCrop FlowTenCrop RandomCrop MultiScaleCrop '
    'RandomResizedCrop': 'crop_size lazy size input_size scales max_wh_scale_gap '
                         'random_crop num_fixed_crops area_range aspect_ratio_range',
    'Flip FlowFlip RandomFlipFrames': 'flip_ratio prob lazy direction',
    'RandomTranslation2D RandomErasingFrames':
        'size prob scale area_range aspect_range fill per_frame',
    'ClipRandAugment': 'num_operations magnitude magnitude_std operations',
    'ColorJitter': 'brightness contrast saturation hue',
    'FormatShape': 'input_format collapse',
    'PackActionInputs PackTrackletInputs':
        'collect_keys meta_keys algorithm_keys extra_keys',
}
_ARGUMENTS = {name: frozenset(arguments.split())
              for names, arguments in _LISTED.items() for name in names.split()}
# Models of timm and torchvision, which are functions: no weights, no addresses.
_LIBRARY_MODEL = re.compile(r'timm\.(?!create_model)[a-z]\w+(\.\w+)?|'
                            r'torchvision\.(?!get_)[a-z]\w+')
_LIBRARY_ARGUMENTS = frozenset(('feature_shape', 'features_only', 'out_indices',
                                'in_chans', 'num_classes', 'img_size'))
# Words, as 'NCTHW' and 'score'. Only some settings may hold more than that: places in
# a network and in data sets, which read text and images alone, and these weights.
_WORDS = re.compile(r'[\w +-]*')
_PATH = re.compile(r'(?!.*://)[^\0]*', re.DOTALL)
_VALUES = {
    'after': re.compile(r'[\w.]*'), 'name': re.compile(r'[\w .+-]*'),
    'checkpoint': re.compile(r'imagenet://\w+|openai/clip-vit-base-patch16'),
    'filename_tmpl': re.compile(r'[\w{}:.-]*'),
    **dict.fromkeys(('data_root', 'ann_file', 'data_prefix', 'split_file',
                     'person_split'), _PATH)}


class UnlistedType:
    """Stands for a type that must not be built: it tells its name, and that it is none.

    It equals its name, so that a config can be shown and searched; a registry that is
    to build it gets a ``ValueError``.
    """

    def __init__(self, name: Any, problem: str) -> None:
        self.__name__, self.problem = str(name), problem

    def __call__(self, *args, **kwargs):
        raise ValueError(
            f'The config is out of a file, and {self.__name__!r} is not built from it: '
            f'{self.problem}. If you trust it, give the config file, whose types and '
            'custom_imports are taken as they are.')

    def __str__(self) -> str:
        return self.__name__

    def __repr__(self) -> str:
        return repr(self.__name__)

    def __eq__(self, other: Any) -> bool:
        return str(other) == self.__name__

    def __hash__(self) -> int:
        return hash(self.__name__)


def _known_scope(scope: Any) -> bool:
    """Whether a scope is one of OpenMMLab's and its package installed."""
    if scope in ('mmengine', 'cosam_mm'):  # there, whatever their distributions
        return True
    try:
        metadata.distribution(_SCOPES.get(scope) or '')
    except (ValueError, TypeError, metadata.PackageNotFoundError):
        return False
    return True


def _arguments_of(kind: str) -> Optional[frozenset]:
    """Arguments that a type may have; None for one that is not listed."""
    if _LIBRARY_MODEL.fullmatch(kind):
        return _LIBRARY_ARGUMENTS
    scope, _, name = kind.rpartition('.')
    if kind in _ARGUMENTS or not _known_scope(scope):
        name = kind
    return _ARGUMENTS.get(name)


def _odd_values(value: Any, key: str = '') -> Iterator[str]:
    """Strings that say more than words; those in a dict with a type are its own."""
    if isinstance(value, dict):
        for name, inner in value.items() if 'type' not in value else ():
            yield from _odd_values(inner, key if key in _VALUES else str(name))
    elif isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            yield from _odd_values(inner, key)
    elif isinstance(value, (str, bytes)) and not (
            isinstance(value, str) and _VALUES.get(key, _WORDS).fullmatch(value)):
        yield f'{key}={value!r}'


def _problem_of(node: dict) -> Optional[str]:
    """Why a dict with a type must not be built; None if it may."""
    allowed = _arguments_of(str(node['type']))
    if allowed is None:
        return 'it is not among the types that a file may name'
    if _is_module(str(node['type'])):
        return 'no class has this name here, but a module, which would be imported'
    for key, value in node.items():
        if key == 'type' or (key == 'pretrained' and not value):
            continue
        if key not in allowed:
            return f'its {key} may not come from a file'
        if odd := next(_odd_values(value, str(key)), None):
            return f'{odd} may not come from a file'
    return None


def _is_module(name: str) -> bool:
    """Whether mmengine, which finds no class of that name, would import it."""
    place = find_spec(name) if name.isidentifier() else None
    if place is None or place.origin is None:  # a folder without code is no harm
        return False
    for root in vars(_registries).values():
        if not isinstance(root, _registries.Registry):
            continue
        for one in (*root.children.values(), root, root.parent or root):
            with suppress(ImportError):  # mmaction2 names a folder that it lacks
                one.import_from_location()
            if name in one.module_dict:
                return False
    return True


def _is_of_host(kind: Any) -> bool:
    return kind is not None and str(
        getattr(kind, '__module__', '')).split('.')[0] not in _READ


def _as_meant(kind: str, scope: Optional[str]) -> tuple[str, Optional[str]]:
    """The type that builds what a file means here, or why there is none."""
    plain = kind.removeprefix(_OURS)
    named, _, name = plain.rpartition('.')
    scope = named or scope
    for root in vars(_registries).values():
        if not isinstance(root, _registries.Registry) or not any(
                _is_of_host(holder.module_dict.get(name))
                for holder in (root, *root.children.values())):
            continue
        found = root.get(name if scope in (None, 'mmengine') else f'{scope}.{name}')
        if not _is_of_host(found):
            continue
        if root.get(_OURS + name) is not None and not named:
            return _OURS + name, None
        return kind, (f'here it would be {found.__module__}.{name}, of another '
                      'project than the one that was meant')
    return plain, None


def restrict_types(node: Any, scope: Optional[str] = None) -> None:
    """Make all that is not listed in a config out of a file impossible to build.

    Args:
        node: Dicts and lists of plain values, changed in place: ``type`` and
            ``default_scope`` become :class:`UnlistedType` where they must not count;
            ``cosam_mm.X`` becomes ``X``, and the other way round where ``X`` is here
            another project's.
        scope: The default scope, where ``node`` is a part of a config.
    """
    if isinstance(node, dict):
        scope = node.get('default_scope', scope)
        if node.get('default_scope') is not None and not _known_scope(scope):
            node['default_scope'] = scope = UnlistedType(
                scope, 'it is no scope of an OpenMMLab package that is installed')
        problem = _problem_of(node) if 'type' in node else None
        if 'type' in node and not problem:
            node['type'], problem = _as_meant(node['type'], scope)
        if node.pop('_scope_', None) is not None:
            problem = 'it names a scope'
        if problem and 'type' in node:
            node['type'] = UnlistedType(node['type'], problem)
    for inner in (node.values() if isinstance(node, dict) else
                  node if isinstance(node, (list, tuple)) else ()):
        restrict_types(inner, scope)


def refuse_unlisted(node: Any) -> None:
    """Raise the ``ValueError`` of the first type inside that must not be built.

    First weights (``init_cfg``) do not count: who has trained ones does not build them.
    """
    if isinstance(node, UnlistedType):
        node()
    for inner in ([node[key] for key in node if key != _INIT]
                  if isinstance(node, dict) else
                  node if isinstance(node, (list, tuple)) else ()):
        refuse_unlisted(inner)
