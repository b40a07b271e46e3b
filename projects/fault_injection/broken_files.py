"""Files broken at random: bytes in, bytes out."""
import random
from collections.abc import Sequence
from typing import Callable


def _flip_bits(data: bytearray, rng: random.Random, _) -> bytes:
    for _ in range(rng.choice((1, 3, 10, 100))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _spoil_head(data: bytearray, rng: random.Random, _) -> bytes:
    for _ in range(rng.choice((1, 3, 10))):
        data[rng.randrange(min(len(data), 400))] = rng.randrange(256)
    return data


def _huge_numbers(data: bytearray, rng: random.Random, _) -> bytes:
    """Fields of the head, or anywhere, that hold the largest numbers there are."""
    for _ in range(rng.choice((1, 2, 5))):
        end = rng.choice((min(len(data), 400), len(data)))
        position = rng.randrange(max(end - 4, 1))
        number = rng.choice((0xffffffff, 0x7fffffff, 0x80000000, 0x00ffffff, 0))
        data[position:position + 4] = number.to_bytes(4, rng.choice(('little', 'big')))
    return data


def _overwrite(data: bytearray, rng: random.Random, most: int, make) -> bytes:
    start = rng.randrange(len(data))
    end = min(start + rng.choice((10, 1000, most)), len(data))
    data[start:end] = make(end - start)
    return data


def _repeat(data: bytearray, rng: random.Random, _) -> bytes:
    start = rng.randrange(len(data))
    return data + data[start:] * rng.choice((1, 20))


def _drop_block(data: bytearray, rng: random.Random, _) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.choice((1, 4, 1000)):]


_FAULTS: dict[str, Callable] = {
    'truncated': lambda data, rng, _: data[:rng.randrange(1, len(data))],
    'bits flipped': _flip_bits, 'head spoilt': _spoil_head,
    'huge numbers': _huge_numbers,
    'zeros': lambda data, rng, _: _overwrite(data, rng, len(data), bytes),
    'noise': lambda data, rng, _: _overwrite(data, rng, 10_000, rng.randbytes),
    'spliced': lambda data, rng, other: (
        data[:rng.randrange(1, len(data))] + other[rng.randrange(len(other)):]),
    'repeated': _repeat, 'bytes dropped': _drop_block,
    'empty': lambda data, rng, _: b''}


def break_bytes(data: bytes, other: bytes, rng: random.Random) -> tuple[str, bytes]:
    """What was done to a file that is not empty, and what is left of it.

    It may be spliced with the ``other`` one.
    """
    fault = rng.choice(list(_FAULTS))
    return fault, bytes(_FAULTS[fault](bytearray(data), rng, other))


def _change_digit(line: str, rng: random.Random) -> str:
    positions = [k for k, sign in enumerate(line) if sign.isdigit()]
    if not positions:
        return line + '7'
    position = rng.choice(positions)
    return line[:position] + str(rng.randrange(10)) + line[position + 1:]


def _change_sign(line: str, rng: random.Random) -> str:
    position = rng.randrange(len(line) + 1)
    sign = rng.choice('\x00\t \n\r\u2028/\\.,;-+_0aZé\ufeff\u0660')
    return line[:position] + sign + line[position + rng.randrange(2):]


_LINE_FAULTS: dict[str, Callable[[str, random.Random], str]] = {
    'a digit changed': _change_digit, 'a sign changed': _change_sign,
    'a line cut': lambda line, rng: line[:rng.randrange(len(line) + 1)],
    'a field lost': lambda line, rng: ' '.join(
        field for k, field in enumerate(line.split())
        if k != rng.randrange(max(len(line.split()), 1))),
    'a path outside': lambda line, rng: rng.choice(('../', '/', 'a/../../')) + line}


def break_lines(lines: Sequence[str], rng: random.Random) -> tuple[str, bytes]:
    """What was done to a text file, two lines at least, and what is left of it."""
    lines = list(lines)
    fault = rng.choice((*_LINE_FAULTS, *_LINE_FAULTS, 'a line repeated', 'a line lost',
                        'lines swapped', 'ends exchanged', 'the file cut', 'bytes',
                        'line ends'))
    k, m = rng.randrange(len(lines)), rng.randrange(len(lines))
    if fault in _LINE_FAULTS:
        lines[k] = _LINE_FAULTS[fault](lines[k], rng)
    elif fault == 'a line repeated':
        lines.insert(m, lines[k])
    elif fault == 'a line lost':
        del lines[k]
    elif fault == 'lines swapped':
        lines[k], lines[m] = lines[m], lines[k]
    elif fault == 'ends exchanged':
        (a, _, x), (b, _, y) = (lines[n].rpartition(' ') for n in (k, m))
        lines[k], lines[m] = f'{a} {y}', f'{b} {x}'
    data = ''.join(f'{line}\n' for line in lines).encode()
    if fault == 'the file cut':
        data = data[:rng.randrange(len(data))]
    elif fault == 'line ends':
        data = data.replace(b'\n', rng.choice((b'\r\n', b'\r', b'\n\n', b' \n')))
    elif fault == 'bytes':
        fault, data = break_bytes(data, data, rng)
    return fault, data
