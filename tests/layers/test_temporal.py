"""Temporal encoders against attention written out by hand."""
import math
import subprocess
import sys

import pytest
import torch

from cosam_mm.layers import TemporalBERT, TemporalLSTM, TemporalMean


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
def test_bert_equals_attention_by_hand(num_layers):
    bert = small_bert(num_layers=num_layers).eval()
    tokens = torch.randn(2, 3, 16, dtype=torch.float64)
    torch.testing.assert_close(bert(tokens), by_hand(bert, tokens))


def test_bert_hides_dropped_tokens_as_keys(monkeypatch):
    bert = small_bert(dropout_ratio=0.0, token_drop_ratio=0.5).train()
    draws = torch.tensor([[0.1, 0.1, 0.9, 0.9], [0.9, 0.9, 0.1, 0.1]])
    monkeypatch.setattr(torch, 'rand', lambda *args, **kwargs: draws)
    tokens = torch.randn(2, 3, 16, dtype=torch.float64)
    keep = draws >= 0.5
    keep[:, 0] = True  # the class token is never dropped
    torch.testing.assert_close(bert(tokens), by_hand(bert, tokens, keep))


def test_bert_drops_tokens_at_the_given_rate():
    bert = TemporalBERT(8, 50, num_heads=1, ffn_channels=8, token_drop_ratio=0.2)
    mask = bert._key_mask(torch.zeros(400, 51, 8))
    assert mask[:, 0, 0, 0].abs().max() == 0
    assert (mask[..., 1:] < 0).float().mean().item() == pytest.approx(0.2, abs=0.02)


def test_bert_is_deterministic_in_evaluation():
    bert = small_bert().eval()
    tokens = torch.randn(2, 3, 16, dtype=torch.float64)
    assert torch.equal(bert(tokens), bert(tokens))
    bert.train()
    assert not torch.equal(bert(tokens), bert(tokens))


def test_bert_normalizes_tokens_when_asked():
    bert = small_bert(normalize_tokens=True).eval()
    tokens = torch.randn(2, 3, 16, dtype=torch.float64)
    torch.testing.assert_close(bert(7 * tokens), bert(tokens))
    torch.testing.assert_close(
        bert(tokens), by_hand(bert, tokens / tokens.norm(dim=2, keepdim=True)))


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


def test_bert_drops_at_every_place_of_the_reference():
    drops = [m.p for m in TemporalBERT(16, 3, num_heads=4, dropout_ratio=0.3).modules()
             if isinstance(m, torch.nn.Dropout)]
    # Embedding and output share one; attention weights, two sublayer outputs and
    # the hidden layer of the feed-forward network have their own.
    assert drops == [0.3] * 5


def test_bert_says_what_to_change():
    with pytest.raises(ValueError, match=r'built for 3 tokens, got 5 .*num_tokens=5'):
        small_bert()(torch.zeros(1, 5, 16, dtype=torch.float64))
    with pytest.raises(ValueError, match='num_heads=5 does not divide in_channels=16'):
        TemporalBERT(16, 3, num_heads=5)


def test_bert_without_transformers_says_what_to_install():
    code = ('import sys; sys.modules["transformers"] = None\n'
            'from cosam_mm.layers import TemporalBERT\n'
            'try:\n    TemporalBERT(16, 3, num_heads=4)\n'
            'except ImportError as error:\n    print(error)')
    out = subprocess.run([sys.executable, '-W', 'ignore', '-c', code],
                         capture_output=True, text=True, check=True).stdout
    assert "pip install 'cosam_mm[action]'" in out


def test_lstm_equals_its_cell_by_hand():
    torch.manual_seed(0)
    net = TemporalLSTM(6, hidden_channels=4, num_layers=1).double()
    tokens = torch.randn(2, 3, 6, dtype=torch.float64)
    weights = net.lstm
    h = c = torch.zeros(2, 4, dtype=torch.float64)
    for t in range(3):
        gates = tokens[:, t] @ weights.weight_ih_l0.T + weights.bias_ih_l0 + \
            h @ weights.weight_hh_l0.T + weights.bias_hh_l0
        i, f, g, o = gates.chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
    torch.testing.assert_close(net(tokens), h)


def test_lstm_defaults_are_the_papers():
    net = TemporalLSTM(512)
    assert net.out_channels == 450
    assert net.lstm.num_layers == 2
    assert not net.lstm.bidirectional


def test_mean_is_blind_to_order():
    tokens = torch.randn(2, 3, 4)
    net = TemporalMean(4)
    torch.testing.assert_close(net(tokens.flip(1)), net(tokens))
    assert net.out_channels == 4
