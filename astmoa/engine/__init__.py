"""One sweep as a state machine over its journal.

It knows no Ray, no Optuna and no clock of its own: what to try, when to stop a trial and how trials run is handed to
it.
"""
