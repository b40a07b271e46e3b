"""Files that end: whoever opens a named pipe or a device may wait for ever."""
import os
import stat

__all__ = ['MAX_IMAGE_BYTES', 'regular_size']

_KINDS = {stat.S_IFDIR: 'a folder', stat.S_IFIFO: 'a named pipe',
          stat.S_IFSOCK: 'a socket', stat.S_IFCHR: 'a device',
          stat.S_IFBLK: 'a device'}
# What no frame takes. A file full of holes can have any size, and is read whole.
MAX_IMAGE_BYTES = 1 << 28


def regular_size(path: str, most: float = float('inf')) -> int:
    """Size of a regular file, in bytes.

    Args:
        path: The file, or a link to it.
        most: How large it may be.

    Raises:
        OSError: It is not there, is no regular file, is empty or too large; or no file
            can have such a name.
    """
    try:
        status = os.stat(path)
    except ValueError as error:  # a null byte in the name
        raise OSError(str(error)) from None
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise OSError(f'it is {_KINDS.get(kind, "something else")}, not a file')
    if status.st_size == 0:
        raise OSError('the file is empty')
    if status.st_size > most:
        raise OSError(f'it has {status.st_size:,} bytes, more than {most:,}')
    return status.st_size
