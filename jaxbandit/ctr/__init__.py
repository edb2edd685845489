"""Click-through models: encoding, models, training, and the reward table of deployed models.

Needs the extra `studies`.
"""
