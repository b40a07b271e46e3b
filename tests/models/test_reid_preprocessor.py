"""Batches of tracklets: bytes to normalised floats, one tensor or a list."""
import pytest
import torch

from cosam_mm.models.reid import TrackletPreprocessor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def tracklet(num_clips, seed=0, size=(6, 4)):
    return torch.randint(0, 256, (num_clips, 3, 2, *size), dtype=torch.uint8,
                         generator=torch.Generator().manual_seed(seed))


def test_normalisation_by_hand():
    clips = tracklet(2)
    (out,) = TrackletPreprocessor()(dict(inputs=[clips], data_samples=[None]))['inputs']
    for channel in range(3):
        expected = (clips[:, channel].double() / 255 - MEAN[channel]) / STD[channel]
        torch.testing.assert_close(out[:, channel].double(), expected, rtol=1e-5,
                                   atol=1e-5)
    assert out.dtype == torch.float32


def test_batches_are_one_tensor_in_training_and_stay_apart_in_testing():
    preprocessor = TrackletPreprocessor()
    inputs = [tracklet(1, seed) for seed in range(3)]
    trained = preprocessor(dict(inputs=inputs, data_samples=list('abc')), training=True)
    assert trained['inputs'].shape == (3, 1, 3, 2, 6, 4)
    assert trained['data_samples'] == list('abc')
    for given in (inputs, torch.stack(inputs)):
        tested = preprocessor(dict(inputs=given))['inputs']
        torch.testing.assert_close(torch.stack(tested), trained['inputs'])
    tested = preprocessor(dict(inputs=[tracklet(5), tracklet(2)]))['inputs']
    assert [len(clips) for clips in tested] == [5, 2]


def test_floats_are_left_alone_on_request():
    clips = torch.randn(1, 3, 2, 6, 4)
    preprocessor = TrackletPreprocessor(mean=None, std=None)
    (out,) = preprocessor(dict(inputs=[clips], data_samples=[None]))['inputs']
    torch.testing.assert_close(out, clips)


def test_its_constants_are_no_part_of_a_checkpoint():
    assert not TrackletPreprocessor().state_dict()


@pytest.mark.parametrize(('inputs', 'message'), [
    ([tracklet(1).float()], 'mean=None'),
    ([tracklet(1)[:, :1]], 'channels'),
    ([tracklet(1)[0]], 'num_clips'),
    ([tracklet(1), tracklet(2)], 'all_clips'),
    ([tracklet(1), tracklet(1, size=(5, 4))], 'shapes'),
])
def test_unfit_batches_are_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        TrackletPreprocessor()(dict(inputs=inputs, data_samples=[None]), training=True)


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(mean=None), 'together'),
    (dict(std=None), 'together'),
    (dict(mean=(0.5,)), 'channel'),
    (dict(std=(0.2, 0.0, 0.2)), 'above'),
])
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TrackletPreprocessor(**settings)
