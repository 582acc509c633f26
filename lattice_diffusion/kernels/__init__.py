"""Compiled loops (numba) on plain arrays; callers allocate and check.

chain, transfer_matrix, rows    spins: forward-backward and transfer-matrix recursions
free_fermions                   planar Ising models without field
mixtures                        likelihoods of, and divergences between, mixtures
percolation, erasure_paths      loops under erasure
heat_bath, clusters, multispin  Monte Carlo updates
random_bits, normals            random words and normal numbers
"""
