"""Files that `tinygrad-norm new` copies. They run, but nothing imports them."""
