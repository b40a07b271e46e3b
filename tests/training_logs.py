"""Logs as mmengine's LocalVisBackend writes them."""
import json


def train_line(epoch, step, loss=1.0, **values):
    return json.dumps(dict(lr=0.1, data_time=0.1, loss=loss, time=0.5, **values,
                           **({} if epoch is None else dict(epoch=epoch)),
                           iter=step, step=step))


def val_line(step, top1, **values):
    return json.dumps({'acc/top1': top1, **values, 'data_time': 0.0, 'time': 0.2,
                       'step': step})


def epochs(first, last, per_epoch=10, interval=4, loss=1.0):
    """Lines of some epochs; each is validated, by a hundredth of its number."""
    lines = []
    for epoch in range(first, last + 1):
        begin = (epoch - 1) * per_epoch
        ends = [*range(interval, per_epoch, interval), per_epoch]
        lines += [train_line(epoch, begin + end, loss) for end in ends]
        lines.append(val_line(epoch, epoch / 100))
    return lines


def write_log(work_dir, stamp, lines, end='\n'):
    """Write ``scalars.json`` of a run that started at ``stamp``."""
    path = work_dir / stamp / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(lines) + end, encoding='utf-8')
    return path
