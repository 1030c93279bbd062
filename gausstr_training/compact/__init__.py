"""The compact presets: trained in stages on synthetic streets that are held in memory."""
