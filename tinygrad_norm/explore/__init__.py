"""The explorer: a page in the browser in which the library computes normalizations step by step.

    server = tn.explore.Server()        # on 127.0.0.1, at a free port
    print(server.address)               # with a token: only who has it is answered
    server.serve_forever()

`question.py` reads what the page asks, `answer.py` computes it with `learn`, `webpage.py` puts the files of
the page into one, `server.py` serves it. `livecurves.py` has the curves of a training for the same page.
"""

from .livecurves import TrainingCurves
from .server import Server

__all__ = ["Server", "TrainingCurves"]
