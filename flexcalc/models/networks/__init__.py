"""What neural networks have in common: training, checkpoints, and the potential around one.

A network is a torch module that maps positions (batch, atoms, 3) of one molecule to energies
(batch,). `family` holds the hyperparameters of training and imports no torch; `trainer` trains,
`step` makes one step fast, `checkpoint` keeps what an exact resume needs, `potential` is what
comes of it.
"""
