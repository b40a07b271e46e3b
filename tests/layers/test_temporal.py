"""Temporal encoders against attention written out by hand."""
import math
import sys

import pytest
import torch
from torch import nn

from cosam_mm.layers import TemporalBERT, TemporalLSTM, TemporalMean
from cosam_mm.layers.temporal import run_lstm


def layer_norm(x, norm):
    centred = x - x.mean(-1, keepdim=True)
    return centred / centred.square().mean(-1, keepdim=True).sqrt() * norm.weight + \
        norm.bias


def gelu_tanh(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def by_hand(bert, tokens, keep=None):
    """The encoder of the paper in evaluation mode, head by head.

    ``keep`` (N, T + 1) says which tokens serve as keys.
    """
    x = torch.cat([bert.cls_token.expand(len(tokens), -1, -1), tokens], 1)
    x = x + bert.position_embedding
    for layer in bert.encoder.layer:
        attention, heads = layer.attention, layer.attention.self.num_attention_heads
        h = layer_norm(x, attention.LayerNorm)
        q, k, v = (getattr(attention.self, name)(h)
                   for name in ('query', 'key', 'value'))
        size, outs = q.shape[-1] // heads, []
        for i in range(heads):
            part = slice(i * size, (i + 1) * size)
            scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(size)
            if keep is not None:
                scores = scores.masked_fill(~keep[:, None], -math.inf)
            outs.append(scores.softmax(-1) @ v[..., part])
        x = x + attention.output.dense(torch.cat(outs, -1))
        h = layer_norm(x, layer.intermediate.LayerNorm)
        x = x + layer.output.dense(gelu_tanh(layer.intermediate.dense(h)))
    return x[:, 0]


def small_bert(**kwargs):
    torch.manual_seed(0)
    return TemporalBERT(16, 3, num_heads=4, ffn_channels=32, **kwargs).double()


@pytest.mark.parametrize('num_layers', [1, 2])
@pytest.mark.parametrize('normalize_tokens', [False, True])
def test_bert_equals_attention_by_hand(num_layers, normalize_tokens):
    bert = small_bert(num_layers=num_layers, normalize_tokens=normalize_tokens).eval()
    tokens = torch.randn(2, 3, 16, dtype=torch.float64)
    seen = tokens / tokens.norm(dim=2, keepdim=True) if normalize_tokens else tokens
    torch.testing.assert_close(bert(tokens), by_hand(bert, seen))
    assert not torch.equal(bert.train()(tokens), bert(tokens))


def test_bert_hides_dropped_tokens_as_keys(monkeypatch):
    bert = small_bert(dropout_ratio=0.0, token_drop_ratio=0.5).train()
    values = torch.tensor([[0.1, 0.1, 0.9, 0.9], [0.9, 0.9, 0.1, 0.1]])
    monkeypatch.setattr(torch, 'rand', lambda *args, **kwargs: values)
    tokens = torch.randn(2, 3, 16, dtype=torch.float64)
    keep = values >= 0.5
    keep[:, 0] = True  # the class token is never dropped
    torch.testing.assert_close(bert(tokens), by_hand(bert, tokens, keep))


def test_bert_parameter_count_and_inits():
    torch.manual_seed(0)
    bert = TemporalBERT(512, 8, embedding_std=None, encoder_std=0.02)
    assert sum(p.numel() for p in bert.encoder.parameters()) == 3_152_384
    assert bert.position_embedding.std().item() == pytest.approx(512**-0.5, rel=0.1)
    dense = bert.encoder.layer[0].intermediate.dense
    assert dense.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert dense.bias.abs().max() == 0
    assert TemporalBERT(512, 8).position_embedding.std().item() == pytest.approx(
        0.02, rel=0.1)


def test_bert_drops_wherever_the_reference_does():
    drops = [m.p for m in TemporalBERT(16, 3, num_heads=4, dropout_ratio=0.3).modules()
             if isinstance(m, nn.Dropout)]
    # Embedding and output share one; attention weights, two sublayer outputs and
    # the hidden layer of the feed-forward network have their own.
    assert drops == [0.3] * 5


def test_bert_says_what_to_change_or_to_install(monkeypatch):
    with pytest.raises(ValueError, match='num_tokens=5'):
        small_bert()(torch.zeros(1, 5, 16, dtype=torch.float64))
    with pytest.raises(ValueError, match='num_heads'):
        TemporalBERT(16, 3, num_heads=5)
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(ImportError, match='pip install'):
        small_bert()


def test_lstm_gives_the_last_output_and_has_the_defaults_of_the_paper():
    net, tokens = TemporalLSTM(6, hidden_channels=4), torch.randn(2, 3, 6)
    outputs, _ = net.lstm(tokens)
    torch.testing.assert_close(net(tokens), outputs[:, 2])
    net = TemporalLSTM(512)
    assert net.out_channels == 450
    assert net.lstm.num_layers == 2
    assert not net.lstm.bidirectional
    torch.testing.assert_close(TemporalMean(6)(tokens), sum(tokens.unbind(1)) / 3)


@pytest.mark.parametrize('bidirectional', [False, True])
def test_lstm_under_autocast_computes_in_single_precision(bidirectional):
    torch.manual_seed(0)
    lstm = nn.LSTM(6, 5, batch_first=True, bidirectional=bidirectional)
    x = torch.randn(2, 4, 6)
    expected = run_lstm(lstm, x)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        outputs = run_lstm(lstm, x)
        features_of_a_layer_before = run_lstm(lstm, x.bfloat16())
        assert torch.is_autocast_enabled('cpu')
    outputs.sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in lstm.parameters())
    assert outputs.dtype == torch.float32  # and not of 16 bits, on any CPU
    assert outputs.shape == (2, 4, 5 * (1 + bidirectional))
    torch.testing.assert_close(outputs, expected, rtol=0, atol=0)
    torch.testing.assert_close(features_of_a_layer_before, expected, rtol=0, atol=0.02)
