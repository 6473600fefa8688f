"""Private set intersection: which ids all parties have, and no other."""

from hecore.algorithms.psi.alignment import Alignment, align
from hecore.algorithms.psi.exchange import Progress
from hecore.algorithms.psi.messages import PsiConfig

__all__ = ["Alignment", "Progress", "PsiConfig", "align"]
