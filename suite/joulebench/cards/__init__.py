"""Energy cards: one configuration as a model hub, a data collection, a standard or a form asks."""

from joulebench.cards.card import Card, make_card

__all__ = ["Card", "make_card"]
