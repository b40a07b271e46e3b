"""Late temporal modelling: a clip's tokens in, one feature out.

A 3-D backbone leaves a short sequence of tokens, one for each remaining step of time.
Their average forgets the order. Kalfaoglu, Kalkan, Alatan, *Late Temporal Modeling in
3D CNN Architectures with BERT*, ECCVW 2020, section 3, replaces it with a transformer
encoder or an LSTM. The three modules here share one interface: tokens (N, T, C) to
features (N, ``out_channels``).
"""
from typing import Optional

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ['TemporalBERT', 'TemporalLSTM', 'TemporalMean', 'run_lstm']


def run_lstm(lstm: nn.LSTM, x: Tensor) -> Tensor:
    """Outputs of all steps of a ``batch_first`` LSTM for (N, T, C).

    On a CPU under autocast they are in single precision: oneDNN has LSTMs of 16 bits
    for some CPUs only, and fails on the others.
    """
    if x.device.type == 'cpu' and torch.is_autocast_enabled('cpu'):
        with torch.autocast('cpu', enabled=False):
            return lstm(x.float())[0]
    return lstm(x)[0]


class TemporalMean(BaseModule):
    """The average of the tokens: late pooling, the baseline.

    Args:
        in_channels: Channels C of a token.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.out_channels = in_channels

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T, C) to (N, C)."""
        return tokens.mean(dim=1)


class TemporalLSTM(BaseModule):
    """The last output of an LSTM that reads the tokens in order.

    Args:
        in_channels: Channels C of a token.
        hidden_channels: Size of the state, which is the size of the feature.
        num_layers: Layers stacked.
    """

    def __init__(self, in_channels: int, hidden_channels: int = 450,
                 num_layers: int = 2) -> None:
        super().__init__()
        self.out_channels = hidden_channels
        self.lstm = nn.LSTM(in_channels, hidden_channels, num_layers,
                            batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T, C) to (N, hidden_channels)."""
        return run_lstm(self.lstm, tokens)[:, -1]


class TemporalBERT(BaseModule):
    """The class token of a bidirectional transformer encoder.

    A learned class token is put before the clip's tokens and a learned position
    embedding is added. The encoder is that of ``transformers``' RoBERTa in its
    pre-layer-norm form, with GELU in the tanh approximation and no norm at the
    end. In training each token but the class token is hidden from the attention
    of all others with probability ``token_drop_ratio``, for each clip on its own.

    Args:
        in_channels: Channels C of a token.
        num_tokens: Tokens T of a clip: the backbone's temporal size.
        num_layers: Encoder layers.
        num_heads: Attention heads; they divide ``in_channels``.
        ffn_channels: Width of the feed-forward network.
        dropout_ratio: Drops embeddings, attention weights, the outputs of both
            sublayers, the hidden layer of the feed-forward network and the
            output.
        token_drop_ratio: Probability that a token serves as no key.
        normalize_tokens: Whether tokens are brought to unit length first.
        embedding_std: Deviation of the initial class token and positions; ``None``
            means ``in_channels ** -0.5``.
        encoder_std: Deviation of the initial weights of the encoder's linear layers,
            their biases are 0; ``None`` keeps PyTorch's own initialisation.

    Raises:
        ImportError: ``transformers`` is not installed.
        ValueError: ``num_heads`` does not divide ``in_channels``.
    """

    def __init__(self,
                 in_channels: int,
                 num_tokens: int,
                 num_layers: int = 1,
                 num_heads: int = 8,
                 ffn_channels: int = 2048,
                 dropout_ratio: float = 0.1,
                 token_drop_ratio: float = 0.2,
                 normalize_tokens: bool = False,
                 embedding_std: Optional[float] = 0.02,
                 encoder_std: Optional[float] = None) -> None:
        super().__init__()
        if in_channels % num_heads:
            raise ValueError(f'num_heads={num_heads} does not divide '
                             f'in_channels={in_channels}.')
        self.out_channels = in_channels
        self.num_tokens = num_tokens
        self.token_drop_ratio = token_drop_ratio
        self.normalize_tokens = normalize_tokens
        self.cls_token = nn.Parameter(torch.zeros(1, 1, in_channels))
        self.position_embedding = nn.Parameter(
            torch.zeros(1, num_tokens + 1, in_channels))
        self.dropout = nn.Dropout(dropout_ratio)
        self.encoder = _pre_norm_encoder(in_channels, num_layers, num_heads,
                                         ffn_channels, dropout_ratio)
        std = in_channels**-0.5 if embedding_std is None else embedding_std
        nn.init.normal_(self.cls_token, std=std)
        nn.init.normal_(self.position_embedding, std=std)
        for module in self.encoder.modules():
            if encoder_std is not None and isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=encoder_std)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T, C) to (N, C); ValueError where T is not ``num_tokens``."""
        n, t, _ = tokens.shape
        if t != self.num_tokens:
            raise ValueError(
                f'The temporal encoder was built for {self.num_tokens} tokens, got {t} '
                f'in {tuple(tokens.shape)}: set num_tokens={t}, or change the clip '
                'length (clip_len) that the data pipeline samples.')
        if self.normalize_tokens:
            tokens = F.normalize(tokens, dim=2)
        x = torch.cat([self.cls_token.expand(n, -1, -1), tokens], dim=1)
        x = self.dropout(x + self.position_embedding)    # (N, T + 1, C)
        x = self.encoder(x, attention_mask=self._key_mask(x))[0]
        return self.dropout(x[:, 0])                     # (N, C)

    def _key_mask(self, x: Tensor) -> Optional[Tensor]:
        """(N, 1, 1, T + 1) to add to attention scores: 0 keeps a key."""
        if not self.training or self.token_drop_ratio == 0:
            return None
        drop = torch.rand(x.shape[:2], device=x.device) < self.token_drop_ratio
        drop[:, 0] = False
        mask = x.new_zeros(x.shape[:2]).masked_fill(drop, torch.finfo(x.dtype).min)
        return mask[:, None, None]


def _pre_norm_encoder(channels: int, num_layers: int, num_heads: int,
                      ffn_channels: int, dropout_ratio: float) -> nn.Module:
    """A pre-layer-norm transformer encoder from ``transformers``."""
    try:
        from transformers import RobertaPreLayerNormConfig
        from transformers.models.roberta_prelayernorm import (
            modeling_roberta_prelayernorm as roberta,
        )
    except ImportError as error:
        raise ImportError(
            'The BERT head takes its encoder from the package transformers: '
            "pip install 'cosam_mm[action]'.") from error
    encoder = roberta.RobertaPreLayerNormEncoder(
        RobertaPreLayerNormConfig(
            hidden_size=channels,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            intermediate_size=ffn_channels,
            hidden_act='gelu_new',
            hidden_dropout_prob=dropout_ratio,
            attention_probs_dropout_prob=dropout_ratio,
            attn_implementation='sdpa'))
    for layer in encoder.layer:
        # The paper's code also drops inside the feed-forward network, which
        # transformers has no setting for.
        layer.intermediate.intermediate_act_fn = nn.Sequential(
            layer.intermediate.intermediate_act_fn, nn.Dropout(dropout_ratio))
    return encoder
