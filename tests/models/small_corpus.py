"""Fourteen lines to learn a tokenizer from."""

CORPUS = """\
The cat sat on the mat, and the dog sat by the door.
When the rain came down the cat went in, but the dog stayed out in the rain.
"What is the matter with the dog?" said the old man to the cat.
The cat said nothing; it was warm on the mat and the fire was bright.
There was once a town by the sea where the wind never stopped.
The old man had walked the length of the town in 1887, and again in 1902.
He counted 12 boats, 340 houses and 5 dogs, and he wrote the numbers down.
Nobody knew whether the numbers were right, for nobody else had counted.
In the morning the children went to the water to see the boats come in.
They shouted to the men in the boats, and the men shouted back to the children.
It is said that the wind took the old man's hat and carried it to the island.
On the island the hat was found by a woman who was mending a net.
She put the hat on the cat, and the cat walked home along the sea in the rain.
Ça va? Très bien: the café was closed, the naïve façade was not.
""".splitlines()
VOCAB_SIZE = 380
