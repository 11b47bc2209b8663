"""Claims that a training decides: over several seeds, with the learning rate tuned for each setting."""

# isort: off
from . import warm_up
from . import smoothness
from . import noisy_batchnorm
from . import rates_and_initialization
from . import input_scaling
from . import spectral_gan
from . import small_batches
from . import sorted_batches
from . import ghost_batches
from . import deviation_norms
from . import own_statistics
from . import rms_norm
from . import batch_norm_lstm
from . import batch_statistics
from . import ngpt_steps
