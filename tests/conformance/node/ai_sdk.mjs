// Vercel's AI SDK over its provider for servers of OpenAI's form.
import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, generateText, streamText } from "ai";

const { BASE_URL: baseURL, API_KEY: apiKey, MODEL: model } = process.env;
const provider = createOpenAICompatible({ name: "lstm-serve", baseURL, apiKey });
const asked = {
  model: provider.chatModel(model),
  system: "Be kind.",
  prompt: "Hello, how are you?",
  maxOutputTokens: 16,
  seed: 7,
  temperature: 0.9,
  maxRetries: 0,
};

const whole = await generateText(asked);
assert.ok(whole.text.length > 0);
assert.ok(whole.usage.outputTokens <= 16);
const parts = [];
for await (const part of streamText(asked).textStream) parts.push(part);
assert.ok(parts.length > 2);
assert.equal(parts.join(""), whole.text);

const completion = await generateText({
  model: provider.completionModel(model),
  prompt: "It was a dark and",
  maxOutputTokens: 8,
  seed: 7,
  maxRetries: 0,
});
assert.ok(completion.text.length > 0);

const { embedding } = await embed({
  model: provider.embeddingModel?.(model) ?? provider.textEmbeddingModel(model),
  value: "the cat sat",
});
assert.ok(Math.abs(Math.hypot(...embedding) - 1) < 1e-4);
console.log("ok");
