"""The names that others rely on: what packages export and what registries hold.

A name that goes missing here breaks somebody's import or config. A new one is added to
the lists below by whoever means it to stay.
"""
import importlib
import inspect
import pkgutil

import mmaction.datasets
import mmaction.evaluation
import mmaction.models
import mmaction.registry
import mmengine.registry
import pytest
from mmengine.registry import Registry

import cosam_mm

PUBLIC = {
    'cosam_mm': {'ActionRecognizer', 'TrackletEncoder', '__version__'},
    'cosam_mm.compat': {'import_on_lookup', 'install', 'on_import'},
    'cosam_mm.functional.cosam': {
        'apply_masks', 'attend', 'masked_average_pool', 'project',
        'standardize_descriptors', 'summarize_cost_volume',
        'summarize_reference_volume'},
    'cosam_mm.functional.cosam_gradients': {
        'MaskAndPool', 'Project', 'Standardize', 'SummarizeInTurn', 'WeighInPlace',
        'has_own_gradients', 'summarize_at_once'},
    'cosam_mm.functional.frame_choice': {
        'evenly_spaced_frames', 'evenly_spaced_indices', 'mean_of_real_frames',
        'pack_frames', 'unpack_frames'},
    'cosam_mm.functional.resample': {
        'VolumeSize', 'infer_volume_size', 'linear_filter', 'resample_summary_weight'},
    'cosam_mm.functional.feature_layout': {
        'FEATURE_LAYOUTS', 'TOKEN_LAYOUTS', 'clip_from_feature', 'feature_from_clip',
        'find_grid'},
    'cosam_mm.functional.fusion': {
        'align_by_id', 'class_probabilities', 'fuse_scores', 'top_k_accuracy'},
    'cosam_mm.functional.confusion': {
        'ClassAccuracy', 'ConfusedPair', 'NO_PREDICTION', 'class_accuracy',
        'confused_order', 'confusion_matrix', 'finite_probabilities', 'hardest_clips',
        'most_confused_classes', 'most_confused_pairs', 'near_misses',
        'predict_labels', 'true_class_losses'},
    'cosam_mm.functional.paired_outcome': {
        'PairedOutcome', 'compare_clips', 'mcnemar_p_value'},
    'cosam_mm.functional.bootstrap': {
        'Interval', 'mean_interval', 'paired_difference'},
    'cosam_mm.functional.distance': {
        'DISTANCES', 'RESOLUTION', 'Rows', 'check_items', 'chosen_distances',
        'cosine_distance', 'distance_blocks', 'euclidean_distance', 'feature_array',
        'resolution', 'squared_euclidean_distance'},
    'cosam_mm.functional.nearest_items': {'NearestItems', 'Report', 'nearest_items'},
    'cosam_mm.functional.reranking': {
        'check_rerank_options', 'rerank_blocks', 'rerank_distance'},
    'cosam_mm.functional.retrieval': {
        'QueryRanks', 'RetrievalFigures', 'rank_blocks', 'rank_distances',
        'rank_features', 'retrieval_figures'},
    'cosam_mm.functional.ranked_lists': {
        'IGNORED', 'RIGHT', 'WRONG', 'ExtremeQueries', 'RankedLists', 'RankingReview',
        'extreme_queries', 'ranked_lists', 'review_blocks'},
    'cosam_mm.functional.pair_histogram': {
        'PairCounter', 'PairHistogram', 'Separation', 'coarser', 'separation'},
    'cosam_mm.functional.center': {'center_loss'},
    'cosam_mm.functional.circle': {'circle_loss'},
    'cosam_mm.functional.triplet': {'batch_hard_triplet_loss', 'mine_hardest'},
    'cosam_mm.layers': {
        'COSAM', 'ClipAdapter', 'NaiveCOSAM', 'TemporalAttentionAggregation',
        'TemporalBERT', 'TemporalLSTM', 'TemporalMean', 'TemporalPoolAggregation',
        'TemporalRNNAggregation', 'record_masks'},
    'cosam_mm.models.backbones': {
        'CLIPVision', 'FrameResNet', 'FrameSEResNet', 'I3D', 'ResNeXt3D', 'plug_into'},
    'cosam_mm.models.heads': {'BERTHead', 'LSTMHead', 'MeanHead'},
    'cosam_mm.models.losses': {
        'BatchHardTripletLoss', 'CenterLoss', 'CircleLoss', 'IdentityLoss'},
    'cosam_mm.models.reid': {
        'BNNeck', 'IdentityHead', 'TrackletPreprocessor', 'VideoReID'},
    'cosam_mm.datasets.action': {'ActionFrameDataset', 'ActionVideoDataset'},
    'cosam_mm.datasets.clip_sampler': {'ClipSampler'},
    'cosam_mm.datasets.reid': {
        'DukeMTMCVideoReID', 'ILIDSVID', 'LoadTrackletFrames', 'MARS', 'PKSampler',
        'PackTrackletInputs', 'QueryGalleryDataset', 'RandomErasingFrames',
        'RandomFlipFrames', 'RandomTranslation2D', 'ResizeFrames',
        'SampleTrackletFrames', 'TrackletDataSample', 'TrackletDataset',
        'TrackletFolder'},
    'cosam_mm.datasets.transforms': {
        'ClipRandAugment', 'FlowFlip', 'FlowTenCrop', 'SafeDecordDecode',
        'SafeDecordInit', 'SafeRawFrameDecode'},
    'cosam_mm.evaluation.action': {
        'ActionMetric', 'DumpScores', 'cross_entropy', 'load_scores',
        'mean_class_accuracy', 'save_scores'},
    'cosam_mm.evaluation.reid': {
        'ReIDMetric', 'ReIDResult', 'evaluate_features', 'load_features',
        'read_attributes', 'save_features'},
    'cosam_mm.engine.inference.recognizer': {
        'ActionPrediction', 'ActionRecognizer', 'ClassScore', 'load_recognizer'},
    'cosam_mm.engine.inference.tracklet_encoder': {
        'DISTANCES', 'TrackletEncoder', 'configured_distance'},
    'cosam_mm.engine.deployment': {
        'DeployableModel', 'ExportedFile', 'FORMATS', 'METADATA_NAME',
        'check_exportable', 'contract_lines', 'export_model', 'load_deployable',
        'relative_error'},
    'cosam_mm.engine.fast': {
        'Difference', 'FoldingError', 'fold_batch_norms', 'has_fast_bfloat16',
        'make_fast', 'result_difference', 'use_channels_last', 'use_fast_inference'},
    'cosam_mm.engine.pictures.reid_review': {'ReIDReview', 'review_features'},
    'cosam_mm.engine.pictures.tracklet_images': {
        'TrackletImages', 'find_tracklet_images'},
    'cosam_mm.engine.report.build': {
        'TOPICS', 'build_report', 'missing_of', 'size_advice', 'write_report'},
    'cosam_mm.visualization.report.content': {
        'Block', 'Cell', 'Clip', 'Code', 'Facts', 'Gallery', 'Missing', 'Picture',
        'Report', 'Section', 'Table', 'Text'},
    'cosam_mm.visualization.report.page': {'Part', 'part_sizes', 'render_page'},
    'cosam_mm.engine.hooks': {
        'BadLossHook', 'BadSamplesHook', 'ChannelsLastHook', 'CheckpointGuardHook',
        'FastInferenceHook', 'KeepMemoryHook', 'MaskVisualizationHook',
        'MeanLossHook', 'ProgressBarHook', 'SafeCheckpointHook', 'SeededDrawsHook'},
    'cosam_mm.engine.pictures.masks.recorder': {'MaskRecorder', 'make_recorder'},
    'cosam_mm.engine.pictures.masks.files': {
        'FORMATS', 'output_names', 'playing_speed', 'write_pictures'},
    'cosam_mm.visualization.masks': {
        'RANGES', 'MaskLayer', 'mask_grid', 'mask_ranges', 'mask_video', 'overlay',
        'spread'},
    'cosam_mm.visualization.clip_file': {
        'CLIP_KINDS', 'encode_clip', 'encode_gif', 'encode_mp4'},
    'cosam_mm.progress': {'progress_bar'},
}

# Found by their plain names in every OpenMMLab project.
IN_ROOT = {
    'MODELS': {
        'BNNeck', 'BatchHardTripletLoss', 'CLIPVision', 'COSAM', 'CenterLoss',
        'CircleLoss', 'ClipAdapter', 'FrameResNet', 'FrameSEResNet', 'I3D',
        'IdentityHead', 'IdentityLoss', 'NaiveCOSAM', 'PluggedBackbone', 'ResNeXt3D',
        'TemporalAttentionAggregation', 'TemporalPoolAggregation',
        'TemporalRNNAggregation', 'TrackletPreprocessor', 'VideoReID'},
    'DATASETS': {'DukeMTMCVideoReID', 'ILIDSVID', 'MARS', 'QueryGalleryDataset',
                 'TrackletFolder'},
    'DATA_SAMPLERS': {'ClipSampler', 'PKSampler'},
    'TRANSFORMS': {
        'LoadTrackletFrames', 'PackTrackletInputs', 'RandomErasingFrames',
        'RandomFlipFrames', 'RandomTranslation2D', 'ResizeFrames',
        'SampleTrackletFrames'},
    'METRICS': {'DumpScores', 'ReIDMetric'},
    'HOOKS': {'BadLossHook', 'BadSamplesHook', 'ChannelsLastHook',
              'CheckpointGuardHook', 'FastInferenceHook', 'KeepMemoryHook',
              'MaskVisualizationHook', 'MeanLossHook', 'ProgressBarHook',
              'SafeCheckpointHook', 'SeededDrawsHook'},
    'OPTIM_WRAPPERS': {'CPUAmpOptimWrapper'},
    'VISBACKENDS': {'EnduringVisBackend'},
    'WEIGHT_INITIALIZERS': {'PretrainedCLIP'},
}
# Build on MMAction2 and are found from its scope.
IN_MMACTION = {
    'MODELS': {'BERTHead', 'LSTMHead', 'MeanHead'},
    'DATASETS': {'ActionFrameDataset', 'ActionVideoDataset'},
    'TRANSFORMS': {'ClipRandAugment', 'FlowFlip', 'FlowTenCrop', 'SafeDecordDecode',
                   'SafeDecordInit', 'SafeRawFrameDecode'},
    'METRICS': {'ActionMetric'},
}


def pairs(table):
    return [(kind, name) for kind, names in table.items() for name in sorted(names)]


@pytest.fixture(scope='module')
def modules():
    """Every module of the package, imported."""
    names = [info.name
             for info in pkgutil.walk_packages(cosam_mm.__path__, 'cosam_mm.')]
    return [cosam_mm, *map(importlib.import_module, names)]


def registries(package):
    """Name -> registry of a package's own registries."""
    return {name: value for name, value in vars(package).items()
            if isinstance(value, Registry) and not name.startswith('MMENGINE_')}


def is_ours(registered):
    return getattr(registered, '__module__', '').split('.')[0] == 'cosam_mm'


def ours_in(package):
    """Registry name -> names that this package has put into it."""
    found = {kind: {name for name, value in registry.module_dict.items()
                    if is_ours(value)}
             for kind, registry in registries(package).items()}
    return {kind: names for kind, names in found.items() if names}


@pytest.fixture
def made_up_scope():
    """Makes registries as another OpenMMLab package would have them."""
    made = []

    def make(kind):
        parent = getattr(mmengine.registry, kind)
        made.append((parent, Registry(parent.name, parent=parent, scope='made_up')))
        return made[-1][1]

    yield make
    for parent, _ in made:
        del parent.children['made_up']


# -- exported names --------------------------------------------------------------


@pytest.mark.parametrize('name', PUBLIC)
def test_exported_names(name):
    module = importlib.import_module(name)
    assert set(module.__all__) == PUBLIC[name]


def test_exports_exist_and_occur_once(modules):
    for module in modules:
        names = getattr(module, '__all__', [])
        assert len(names) == len(set(names)), module.__name__
        assert [name for name in names if not hasattr(module, name)] == []


def test_every_exported_class_and_function_has_a_docstring(modules):
    silent = []
    for module in modules:
        for name in getattr(module, '__all__', []):
            value = getattr(module, name)
            if not (inspect.isclass(value) or inspect.isfunction(value)):
                continue
            own = vars(value).get('__doc__') if inspect.isclass(value) \
                else value.__doc__
            # Python writes the signature where a tuple or data class has none.
            if not own or own.startswith(f'{name}('):
                silent.append(f'{module.__name__}.{name}')
    assert silent == []


def test_public_methods_have_a_docstring(modules):
    """Except where a base class has said it."""
    silent = []
    for module in modules:
        for name in getattr(module, '__all__', []):
            value = getattr(module, name)
            if not inspect.isclass(value) or not is_ours(value):
                continue
            silent += [f'{module.__name__}.{name}.{key}'
                       for key, member in vars(value).items()
                       if inspect.isfunction(member) and not key.startswith('_')
                       and not inspect.getdoc(getattr(value, key))]
    assert silent == []


# -- registered names ------------------------------------------------------------


@pytest.mark.parametrize(('package', 'expected'), [
    (mmengine.registry, IN_ROOT), (mmaction.registry, IN_MMACTION)
], ids=['root', 'mmaction'])
def test_registered_names(modules, package, expected):
    assert ours_in(package) == expected


@pytest.mark.parametrize(('kind', 'name'), pairs(IN_ROOT))
def test_root_names_are_found_from_every_scope(modules, made_up_scope, kind, name):
    root = getattr(mmengine.registry, kind)
    assert is_ours(root.get(name))
    assert made_up_scope(kind).get(name) is root.get(name)
    if hasattr(mmaction.registry, kind):
        assert getattr(mmaction.registry, kind).get(name) is root.get(name)
    # As a build looks it up when a config's default scope is another package's.
    for scope in ('mmaction', 'made_up'):
        with root.switch_scope_and_registry(scope) as registry:
            assert registry.get(name) is root.get(name)


@pytest.mark.parametrize(('kind', 'name'), pairs(IN_MMACTION))
def test_mmaction_names_are_found_from_its_scope(kind, name):
    registry = getattr(mmaction.registry, kind)
    assert is_ours(registry.get(name))
    root = getattr(mmengine.registry, kind)
    assert root.get(f'mmaction.{name}') is registry.get(name)


def test_no_name_of_ours_hides_another(modules):
    """Neither here nor there: a scope looks into its own registry, then the root's."""
    for kind, theirs in registries(mmaction.registry).items():
        root = getattr(mmengine.registry, kind, None)
        if root is None:
            continue
        both = set(theirs.module_dict) & set(root.module_dict)
        hidden = [name for name in both if is_ours(theirs.module_dict[name])
                  or is_ours(root.module_dict[name])]
        assert hidden == [], kind
