"""The cuda backend: batches of residues on NVIDIA GPUs.

    abi            every kernel's name, parameters and meaning; what a row is
    src/           the kernels: *.cuh arithmetic, *.cu entry points by family
    shapes         lanes and limbs by size of the modulus and of the batch
    device         what the backend asks of a device: the protocol
    cupy_device    a GPU through CuPy: memory pool, stream, compilation
    staging        pinned buffers for copies to and from the host
    constants      what kernels need of a modulus, on a device
    engine         kernels on rows of one device; temporary memory in pieces
    batch          CudaResidues
    fixed_base     fixed-base powers by table, built on the device
    segments       products over segments of very different lengths
    host_form      limbs to rows and back; `numbers` the same for machine numbers and slots
    backend        CudaBackend
    load           whether it runs here

Nothing here is imported before `select` loads it, and CuPy not before the driver has answered.
"""
