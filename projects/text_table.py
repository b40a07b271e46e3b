"""Tables of texts, for a terminal or as Markdown."""
from collections.abc import Sequence


def text_table(lines: Sequence[Sequence[str]], num_texts: int,
               markdown: bool = False) -> str:
    """Aligned columns below the first line; those of words, which come first, to the
    left.

    >>> print(text_table([('row', 'mAP'), ('a', '51.0')], 1))
    row   mAP
    ---  ----
    a    51.0
    """
    widths = [max(map(len, column)) for column in zip(*lines)]
    rows = [[f'{cell:{"<" if number < num_texts else ">"}{width}}'
             for number, (cell, width) in enumerate(zip(line, widths))]
            for line in lines]
    if not markdown:
        rows.insert(1, ['-' * width for width in widths])
        return '\n'.join('  '.join(row).rstrip() for row in rows)
    rows.insert(1, [f':{"-" * (width - 1)}' if number < num_texts else
                    f'{"-" * (width - 1)}:' for number, width in enumerate(widths)])
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)
