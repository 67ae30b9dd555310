"""Robot Framework: the keyword library, and what generates and runs the suites in ``robot/``."""

from __future__ import annotations

from hil.robot.calibration import Calibration
from hil.robot.cross_validation import CrossValidation
from hil.robot.foreach import ForEach
from hil.robot.library import HilLibrary

__all__ = ["Calibration", "CrossValidation", "ForEach", "HilLibrary"]
