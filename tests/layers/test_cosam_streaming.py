"""A long video in chunks: the same result as at once, in bounded memory."""
import pytest
import torch

from cosam_mm.layers import COSAM
from projects.attention_study.measurement import peak_extra_bytes
from tests.layers.test_cosam import randomized

FRAMES = 23


def make(**settings):
    settings = {'any_size': True, **settings}
    cosam = COSAM(6, 4, (4, 2), reduction_channels=5, summary_channels=3, **settings)
    return randomized(cosam).eval()


def features(t=FRAMES, size=(4, 2)):
    torch.manual_seed(0)
    return torch.randn(2, 6, t, *size)


def joined(stream):
    outputs, spatial, channel = zip(*stream)
    assert all(torch.equal(c, channel[0]) for c in channel if c is not None)
    return (torch.cat(outputs, 2),
            None if spatial[0] is None else torch.cat(spatial, 1), channel[0])


def check(values, expected, **tolerance):
    for value, wanted in zip(values, expected):
        if wanted is None:
            assert value is None
        else:
            torch.testing.assert_close(value, wanted, **tolerance)


CHUNKINGS = [[1] * FRAMES, [FRAMES], [5, 1, 9, 8], [22, 1]]
MODES = [{}, dict(with_channel=False), dict(with_spatial=False), dict(num_references=3),
         dict(num_references=40)]


@pytest.mark.parametrize('chunking', CHUNKINGS, ids=str)
@pytest.mark.parametrize(('settings', 'references'), [
    *((settings, None) for settings in MODES),
    (dict(num_references=2, any_size=False), torch.randn(2, 6, 2, 4, 2))])
@pytest.mark.parametrize('size', [(4, 2), (5, 3)])
def test_equals_the_whole(chunking, settings, references, size):
    cosam, x = make(**settings), features(size=size)
    with torch.no_grad():
        expected = cosam(x, return_masks=True, references=references)
    chunks = x.split(chunking, dim=2)
    stream = list(cosam.stream(chunks, FRAMES, True, references))
    assert [out.shape[2] for out, _, _ in stream] == chunking
    check(joined(stream), expected, rtol=1e-4, atol=1e-5)


class Source:
    """Chunks that are made when they are read, and a count of the readings."""

    def __init__(self, x, chunk=5):
        self.chunks, self.passes = x.split(chunk, dim=2), 0

    def __iter__(self):
        self.passes += 1
        return iter(self.chunks)


@pytest.mark.parametrize(('settings', 'passes'), [
    ({}, 3), (dict(with_channel=False), 2), (dict(with_spatial=False), 2),
    (dict(num_references=2), 3), (dict(num_references=2, with_channel=False), 2)])
def test_number_of_passes(settings, passes):
    source = Source(features())
    list(make(**settings).stream(source, FRAMES))
    assert source.passes == passes
    if 'num_references' in settings:
        source = Source(features())
        references = torch.randn(2, 6, 2, 4, 2)
        list(make(**settings).stream(source, FRAMES, references=references))
        assert source.passes == passes - 1


def test_thousands_of_frames_stay_exact():
    """The running templates do not drift."""
    cosam, x = make(), features(4000, (2, 2))
    with torch.no_grad():
        expected = cosam.double()(x.double(), return_masks=True)
    stream = cosam.float().stream(x.split(37, 2), 4000, return_masks=True)
    check([v.double() for v in joined(stream)], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('chunks', 'frames', 'message'), [
    ((c for c in [features(2)]), 2, 'generator'),
    ([features(2), features(3)], 4, 'at least 5 frames'),
    ([features(2), features(3)], 6, 'hold 5 frames'),
    ([], 2, 'hold 0 frames'),
    ([features(2)[0]], 2, r'\(N, C, t, H, W\)'),
    ([features(2), features(0)], 2, 'one frame or more'),
    ([features(2), features(2, (4, 4))], 4, r'\(2, 6, 4, 4\) now'),
    ([features(2)[:, :4]], 2, 'channels'),
    ([features(1)], 1, 'num_frames=1'),
])
def test_wrong_chunks_are_refused(chunks, frames, message):
    with pytest.raises(ValueError, match=message):
        list(make().stream(chunks, frames))


def test_wrong_use_is_refused():
    fixed, source = make(any_size=False), Source(features())
    for cosam, chunks, frames, references, advice in [
            (fixed, source, FRAMES, None, 'any_size'),
            (fixed, [features(4, (3, 3))], 4, None, '3x3'),
            (make(), source, FRAMES, features(2), 'num_references')]:
        with pytest.raises(ValueError, match=advice):
            list(cosam.stream(chunks, frames, references=references))
    with pytest.raises(RuntimeError, match='eval'):
        make().train().stream(source, FRAMES)


class Video:
    """Chunks of 16 frames that are made when they are read."""

    def __init__(self, frames):
        self.frames = frames

    def __iter__(self):
        for start in range(0, self.frames, 16):
            generator = torch.Generator().manual_seed(start)
            yield torch.randn(1, 64, 16, 16, 16, generator=generator)


def test_memory_does_not_grow_with_the_length():
    cosam = COSAM(64, 4, 16, any_size=True).eval()

    def peak(frames):
        def run():
            for _ in cosam.stream(Video(frames), frames):
                pass
        return peak_extra_bytes(run)

    assert peak(160) < 1.02 * peak(48)
