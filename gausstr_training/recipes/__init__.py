"""Recipes: every number of a training run, in one small file each."""

from gausstr_training.recipes.reading import read_recipe, shipped
from gausstr_training.recipes.schema import (
    AugmentationRecipe,
    CompactRecipe,
    FullRecipe,
    Recipe,
    StageRecipe,
)

__all__ = [
    'AugmentationRecipe',
    'CompactRecipe',
    'FullRecipe',
    'Recipe',
    'StageRecipe',
    'read_recipe',
    'shipped',
]
