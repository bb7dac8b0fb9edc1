"""The corpus as a tree that a model can search (LATTICE, arXiv 2510.13217).

Inner nodes have texts, leaves are passages. `types` says what a tree is; `cluster`, `bottom_up` and
`top_down` build one, `living` keeps it true to its store, `keep` puts it on the disk, `view` opens
it for a search, `search` navigates it, `calibrate` makes scores of different slates comparable.
Nothing here asks a model: building yields requests and takes texts, searching yields slates and
takes scores.
"""
