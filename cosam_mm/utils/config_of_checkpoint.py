"""The config in a checkpoint, or in a work dir: of a file from anywhere, read as data.

Nothing in it is executed, and of its types only those can be built that
:mod:`.buildable_types` lists.
"""
import ast
import re
from collections.abc import Iterable

from mmengine.config import Config

from .buildable_types import restrict_types

__all__ = ['config_of_checkpoint']

# Classes by their place, as mmengine writes configs of its new style: they are looked
# up by their registered names.
_CLASS = re.compile(
    r'(mmaction|mmdet|mmpose|mmpretrain|mmseg|mmengine|mmcv|cosam_mm|torch)'
    r'(\.[a-z_]\w*)+\.([A-Z]\w*)')
_SCOPES = ('mmaction', 'mmdet', 'mmpose', 'mmpretrain', 'mmseg', 'cosam_mm')
# Values that pretty_text writes as calls, besides dict.
_CALLS = dict(set=set, frozenset=frozenset, range=range, PosixPath=str)


def config_of_checkpoint(text: str) -> Config:
    """Read the config that mmengine wrote into a checkpoint.

    The text is Python, but of a file from anywhere: it is read as data, and nothing
    in it is executed. ``pretrained`` is switched off: no weights are to come from an
    address that the file chooses. Types that a file may not name are in it for
    reading; building them raises ``ValueError`` (:mod:`.buildable_types`).

    Args:
        text: ``checkpoint['meta']['cfg']``.

    Raises:
        ValueError: The text holds more than assignments of plain values, or a request
            to run the code of a hub.
    """
    try:
        settings = {name: value for statement in ast.parse(text).body
                    for name, value in _plain_settings(statement)}
        restrict_types(settings)
        return Config(settings)
    except SyntaxError as error:
        raise ValueError(_refusal(error.lineno or 1, 'is no Python')) from None
    except (MemoryError, RecursionError):  # of the parser
        raise ValueError(_refusal(1, 'begins what is nested too deeply')) from None
    except KeyError as error:
        reason = f'begins a config in which {error.args[0]}'
        raise ValueError(_refusal(1, reason)) from None


def _plain_settings(statement: ast.stmt) -> Iterable[tuple]:
    """Name and value of an assignment, or those of a dict: of names with dots."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Dict):
        return _plain_value(statement.value).items()
    if not (isinstance(statement, ast.Assign) and len(statement.targets) == 1
            and isinstance(statement.targets[0], ast.Name)):
        raise ValueError(_refusal(statement.lineno, 'is no plain setting'))
    return [(statement.targets[0].id, _plain_value(statement.value))]


def _refusal(line: int, what: str) -> str:
    return (f"Line {line} of the checkpoint's config {what}, and it is read as data "
            'only: give the config file that it was trained with, too.')


def _plain_call(node: ast.Call):
    """``dict(a=1)``, ``dict({'a.b': 1})``, ``set()``, ``np.float64(1.5)`` and such."""
    function, items = ast.unparse(node.func), []
    if function == 'dict' and len(node.args) <= 1 and all(k.arg for k in node.keywords):
        if node.args and isinstance(node.args[0], ast.Dict):
            items = list(_plain_value(node.args[0]).items())
        elif node.args:
            raise ValueError(_refusal(node.lineno, 'has a call of another kind'))
        return _plain_dict(node.lineno, [
            *items, *((k.arg, _plain_value(k.value)) for k in node.keywords)])
    values = [_plain_value(value) for value in node.args]
    if not node.keywords and re.fullmatch(r'np\.(str_|bool_?|u?int\d+|float\d+)',
                                          function) and len(values) == 1:
        return values[0]
    if function not in _CALLS or node.keywords:
        raise ValueError(_refusal(node.lineno, 'has a call other than dict(...)'))
    try:
        return _CALLS[function](*values)
    except TypeError:
        raise ValueError(_refusal(node.lineno, 'has no plain value')) from None


def _plain_value(node: ast.expr):
    """Value of a literal that may contain calls such as ``dict(key=value)``."""
    if isinstance(node, ast.Call):
        return _plain_call(node)
    if isinstance(node, ast.Dict) and None not in node.keys:
        return _plain_dict(node.lineno, [
            (_plain_value(k), _plain_value(v))
            for k, v in zip(node.keys, node.values)])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(
            node.operand, ast.Name):
        return -_plain_value(node.operand)
    if isinstance(node, ast.Name) and node.id in ('inf', 'nan'):
        return float(node.id)
    if isinstance(node, (ast.List, ast.Tuple)):
        kind = list if isinstance(node, ast.List) else tuple
        return kind(_plain_value(item) for item in node.elts)
    try:
        return ast.literal_eval(node)
    except (TypeError, ValueError):
        raise ValueError(_refusal(node.lineno, 'has no plain value')) from None


def _plain_dict(line: int, items: list[tuple]) -> dict:
    """A dict; its ``type`` becomes a registered name."""
    try:
        values = dict(items)
    except TypeError:  # a list as a key
        raise ValueError(_refusal(line, 'has no plain value')) from None
    if values.get('trust_remote_code'):
        raise ValueError(_refusal(line, 'asks to run the code of a hub'))
    if values.get('pretrained'):
        values['pretrained'] = False if values['pretrained'] is True else None
    kind = str(values.get('type'))
    place = _CLASS.fullmatch(kind)
    if place and kind != 'mmcv.cnn.NonLocal3d':  # which shipped configs import
        values['type'] = (f'{place[1]}.' if place[1] in _SCOPES else '') + place[3]
    return values
