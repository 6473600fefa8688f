"""hecore: Paillier homomorphic encryption over batches of numbers."""

from pkgutil import extend_path

# A checkout's hecore/ shadows an installed one when Python starts in the repository root;
# the installed sub-packages (kernels, algorithms, bench) are then found along sys.path.
__path__ = extend_path(__path__, __name__)
