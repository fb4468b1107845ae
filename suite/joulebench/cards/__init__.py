"""Energy cards: one configuration as a model hub, a data collection, a standard or a form asks."""

from joulebench.cards.card import FORMATS, Card, make_card

__all__ = ["FORMATS", "Card", "make_card"]
