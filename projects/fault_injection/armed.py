"""Arms the fault of this process, if it is to have one: to be imported by a config.

``RELIABILITY_FAULT`` names the process, the occasion and the moment: ``1 2 in a
validation``.
"""
import os

from .faults import Fault, arm

_rank, _, _fault = os.environ.get('RELIABILITY_FAULT', '').partition(' ')
if _rank and _rank == os.environ.get('RANK'):
    _number, _, _moment = _fault.partition(' ')
    arm(Fault(_moment, int(_number)))
