"""Command-line tools as processes of their own, without waiting for imports each time.

Importing torch and MMAction2 takes seconds. ``ToolNest`` starts one process that has
done so and has computed nothing yet; every run is a fork of it, which executes the
file of the tool as ``__main__`` with arguments, folder, output and exit status of its
own. One of ``imports='mmengine'`` has torch and mmengine alone, for what is imported
after them. ``run_fresh`` starts an interpreter, as a user does.
"""
import gc
import json
import multiprocessing.util
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import traceback
from pathlib import Path

LIMIT = 240  # seconds, after which a tool counts as hung
REPO = Path(__file__).resolve().parents[1]
# Small models gain nothing from more threads, and two runs side by side lose.
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')


def run_fresh(*command, cwd, **environment) -> subprocess.CompletedProcess:
    """Run a command, or a Python file with this interpreter, in the folder ``cwd``."""
    command = [str(part) for part in command]
    if command[0].endswith('.py'):
        command.insert(0, sys.executable)
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True,
                          timeout=LIMIT, env=dict(ENVIRONMENT, **environment))


def assert_refused(done: subprocess.CompletedProcess, *words: str) -> None:
    """A tool ended with status 2 and one line of error that has these words."""
    assert done.returncode == 2, done.stderr
    assert 'Traceback' not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert 'error: ' in last
    for word in words:
        assert word in last


def _environments_of_pair() -> list[dict]:
    """What a launcher tells each of two processes that are to connect."""
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = str(server.getsockname()[1])
    return [dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2',
                 MASTER_ADDR='127.0.0.1', MASTER_PORT=port) for rank in range(2)]


def run_pair(script: str, folder: Path) -> list[subprocess.CompletedProcess]:
    """Run a script's text in two new interpreters that can connect."""
    path = folder / 'script.py'
    path.write_text(script)
    pair = [subprocess.Popen(
        [sys.executable, str(path)], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, cwd=folder,
        env=dict(ENVIRONMENT, PYTHONPATH=str(REPO), **environment))
        for environment in _environments_of_pair()]
    texts = [one.communicate(timeout=LIMIT) for one in pair]
    return [subprocess.CompletedProcess(one.args, one.returncode, *text)
            for one, text in zip(pair, texts)]


class ToolNest:
    """A process with everything imported, which forks for each tool that is run."""

    def __init__(self, imports: str = 'everything') -> None:
        flags = ['-W', 'ignore'] if imports == 'mmengine' else []
        self._process = subprocess.Popen(
            [sys.executable, *flags, __file__, imports], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
            env=dict(ENVIRONMENT, PYTHONPATH=str(REPO)))

    def run(self, tool, *arguments, cwd, terminal=None) -> subprocess.CompletedProcess:
        """Run a tool, named by its path from the root of the checkout.

        What it prints goes to the terminal of that path, if one is given.
        """
        argv = [str(REPO / tool), *map(str, arguments)]
        return self._run([argv], cwd, [{}], terminal=terminal)[0]

    def ok(self, tool, *arguments, cwd, **options) -> subprocess.CompletedProcess:
        """Run a tool that has to end with status 0."""
        done = self.run(tool, *arguments, cwd=cwd, **options)
        assert done.returncode == 0, done.stderr
        return done

    def run_code(self, code: str, folder: Path) -> subprocess.CompletedProcess:
        """Run the text of a script."""
        path = folder / 'code.py'
        path.write_text(textwrap.dedent(code))
        return self.run(path, cwd=folder)

    def run_pair(self, script: str, folder: Path, kill: bool = False
                 ) -> list[subprocess.CompletedProcess]:
        """Run a script's text in two processes that can connect.

        With ``kill``, the second one is killed when the first has ended.
        """
        path = folder / 'script.py'
        path.write_text(script)
        return self._run([[str(path)]] * 2, folder, _environments_of_pair(), kill)

    def _run(self, argvs, cwd, environments, kill=False, terminal=None):
        with tempfile.TemporaryDirectory() as folder:
            paths = [[terminal or os.path.join(folder, f'{name}{k}')
                      for name in ('out', 'err')] for k in range(len(argvs))]
            jobs = [[argv, str(cwd), *files, environment] for argv, files, environment
                    in zip(argvs, paths, environments)]
            self._process.stdin.write(json.dumps([jobs, kill]) + '\n')
            self._process.stdin.flush()
            statuses = json.loads(self._process.stdout.readline())
            # Names of files need not be text.
            return [subprocess.CompletedProcess(argv, status, *(
                '' if terminal else Path(path).read_text(errors='surrogateescape')
                for path in files)) for argv, status, files in zip(
                    argvs, statuses, paths)]

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait(timeout=LIMIT)
        self._process.stdout.close()


def _become(argv, cwd, out, err, environment) -> None:
    """Turn this fork into the tool."""
    signal.alarm(LIMIT)
    os.environ.update(environment)
    for stream, path in ((0, os.devnull), (1, out), (2, err)):
        handle = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(handle, stream)
        os.close(handle)
    os.chdir(cwd)
    sys.argv = argv
    sys.path[0] = os.path.dirname(argv[0])
    status = 0
    try:
        runpy.run_path(argv[0], run_name='__main__')
    except SystemExit as error:
        status = error.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    multiprocessing.util._exit_function()  # ends the workers of data loaders
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # taking the imported packages apart would take a second


def _serve() -> None:
    gc.freeze()  # so that a fork need not copy what it only looks through
    # readline, because iteration would read ahead into what a fork inherits.
    while line := sys.stdin.readline():
        jobs, kill = json.loads(line)
        children, statuses = [], []
        for job in jobs:
            children.append(os.fork())
            if children[-1] == 0:
                _become(*job)
        for child in children:
            if kill and statuses:
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            statuses.append(os.waitstatus_to_exitcode(status))
        print(json.dumps(statuses), flush=True)


if __name__ == '__main__' and sys.argv[1] == 'mmengine':
    # ruff: noqa: F401, I001
    import torch
    import mmengine
    _serve()
elif __name__ == '__main__':
    # What tools import at some time or other; none of it computes anything by itself.
    import cosam_mm  # first, as in the tools
    import cv2  # before decord, whose zlib it cannot do with
    import decord
    import matplotlib.figure
    import mmaction.apis
    import mmaction.datasets
    import mmaction.engine
    import mmaction.evaluation
    import mmaction.models
    import mmaction.visualization
    import transformers.models.roberta_prelayernorm.modeling_roberta_prelayernorm
    _serve()
