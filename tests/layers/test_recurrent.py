"""LSTMs in the precision that the device can do."""
import pytest
import torch
from torch import nn

from cosam_mm.layers.recurrent import run_lstm


@pytest.mark.parametrize('bidirectional', [False, True])
def test_under_autocast_it_is_what_it_is_without(bidirectional):
    torch.manual_seed(0)
    lstm = nn.LSTM(6, 5, batch_first=True, bidirectional=bidirectional)
    x = torch.randn(2, 4, 6)
    expected = run_lstm(lstm, x)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        outputs = run_lstm(lstm, x)
        features_of_a_layer_before = run_lstm(lstm, x.bfloat16())
        assert torch.is_autocast_enabled('cpu')
    assert outputs.dtype == torch.float32  # and not of 16 bits, on any CPU
    assert outputs.shape == (2, 4, 5 * (1 + bidirectional))
    torch.testing.assert_close(outputs, expected, rtol=0, atol=0)
    torch.testing.assert_close(features_of_a_layer_before, expected, rtol=0, atol=0.02)


def test_weights_have_gradients_under_autocast():
    lstm = nn.LSTM(3, 2, batch_first=True)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        run_lstm(lstm, torch.randn(2, 4, 3)).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in lstm.parameters())
