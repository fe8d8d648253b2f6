"""Commands that stand in for Integrate.io in rehearsals: stub, demo."""
