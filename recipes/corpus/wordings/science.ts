import type { science } from "../facts/science.ts";
import type { Wordings } from "./types.ts";

export const scienceWordings = {
  nature: {
    zh: [
      { say: "{s}是{o}。" },
      { say: "{o}是{s}。" },
      { ask: "{s}是什么？", reply: "{s}是{o}。" },
      { ask: "你知道{s}是什么吗？", reply: "是{o}。" },
      { ask: "请问{s}叫什么？", reply: "叫{o}。", held: true },
    ],
    en: [
      { say: "{s} is {o}." },
      { say: "{o} is {s}." },
      { ask: "What is {s}?", reply: "It is {o}." },
      { ask: "Do you know what {s} is?", reply: "Yes, {s} is {o}." },
      { ask: "Can you name {s}?", reply: "It is {o}.", held: true },
    ],
  },
  planet: {
    zh: [
      { say: "从太阳往外数，{s}是{o}颗行星。" },
      { say: "{s}是太阳系的{o}颗行星。" },
      { ask: "从太阳往外数，{s}是第几颗行星？", reply: "是{o}颗。" },
      { ask: "太阳系的{o}颗行星是什么？", reply: "是{s}。" },
      { ask: "请问{s}是太阳系的第几颗行星？", reply: "是{o}颗。", held: true },
    ],
    en: [
      { say: "{s} is the {o} planet from the Sun." },
      { say: "Counted from the Sun, {s} is the {o} planet." },
      { ask: "Which planet is the {o} from the Sun?", reply: "It is {s}." },
      { ask: "Where does {s} stand, counted from the Sun?", reply: "{s} is the {o} planet." },
      { ask: "Which place does {s} take, counted from the Sun?", reply: "It is the {o} planet.", held: true },
    ],
  },
  symbol: {
    zh: [
      { say: "{s}的元素符号是{o}。" },
      { say: "元素{s}用符号{o}表示。" },
      { ask: "{s}的元素符号是什么？", reply: "{s}的元素符号是{o}。" },
      { ask: "{o}是哪种元素的符号？", reply: "{o}是{s}的元素符号。" },
      { ask: "请问元素{s}用什么符号表示？", reply: "用{o}表示。", held: true },
    ],
    en: [
      { say: "The chemical symbol of {s} is {o}." },
      { say: "{o} is the chemical symbol of {s}." },
      { ask: "What is the chemical symbol of {s}?", reply: "The chemical symbol of {s} is {o}." },
      { ask: "Which symbol stands for {s}?", reply: "It is {o}." },
      { ask: "How do chemists write {s}?", reply: "The chemical symbol is {o}.", held: true },
    ],
  },
  formula: {
    zh: [
      { say: "{s}的化学式是{o}。" },
      { say: "{o}是{s}的化学式。" },
      { ask: "{s}的化学式是什么？", reply: "{s}的化学式是{o}。" },
      { ask: "{o}是什么物质的化学式？", reply: "{o}是{s}的化学式。" },
      { ask: "请问{s}的化学式怎么写？", reply: "写作{o}。", held: true },
    ],
    en: [
      { say: "The chemical formula of {s} is {o}." },
      { say: "{o} is the formula of {s}." },
      { ask: "What is the chemical formula of {s}?", reply: "The chemical formula of {s} is {o}." },
      { ask: "What is the formula of {s}?", reply: "It is {o}." },
      { ask: "Can you tell me the formula of {s}?", reply: "The formula is {o}.", held: true },
    ],
  },
  unit: {
    zh: [
      { say: "{s}的单位是{o}。" },
      { say: "{o}是{s}的国际单位。" },
      { ask: "{s}的单位是什么？", reply: "{s}的单位是{o}。" },
      { ask: "{o}是什么量的单位？", reply: "{o}是{s}的单位。" },
      { ask: "请问{s}的国际单位叫什么？", reply: "叫{o}。", held: true },
    ],
    en: [
      { say: "The unit of {s} is {o}." },
      { say: "{o} is the unit of {s}." },
      { ask: "What is the unit of {s}?", reply: "The unit of {s} is {o}." },
      { ask: "Which unit is used for {s}?", reply: "It is {o}." },
      { ask: "Can you tell me the unit of {s}?", reply: "The unit is {o}.", held: true },
    ],
  },
  theory: {
    zh: [
      { say: "{o}提出了{s}。" },
      { say: "{s}是{o}提出的。" },
      { ask: "{s}是谁提出的？", reply: "{s}是{o}提出的。" },
      { ask: "谁提出了{s}？", reply: "是{o}。" },
      { ask: "请问提出{s}的人是谁？", reply: "是{o}。", held: true },
    ],
    en: [
      { say: "{o} put forward {s}." },
      { say: "The person who put forward {s} was {o}." },
      { ask: "Who put forward {s}?", reply: "It was {o}." },
      { ask: "Do you know who put forward {s}?", reply: "Yes, {o} did." },
      { ask: "Can you tell me who put forward {s}?", reply: "The person was {o}.", held: true },
    ],
  },
  discovery: {
    zh: [
      { say: "{o}发现了{s}。" },
      { say: "{s}是{o}发现的。" },
      { ask: "{s}是谁发现的？", reply: "{s}是{o}发现的。" },
      { ask: "谁发现了{s}？", reply: "是{o}。" },
      { ask: "请问发现{s}的人是谁？", reply: "是{o}。", held: true },
    ],
    en: [
      { say: "{o} discovered {s}." },
      { say: "The discovery of {s} was made by {o}." },
      { ask: "Who discovered {s}?", reply: "It was {o}." },
      { ask: "Do you know who discovered {s}?", reply: "Yes, {o} did." },
      { ask: "Who made the discovery of {s}?", reply: "It was made by {o}.", held: true },
    ],
  },
  organ: {
    zh: [
      { say: "{s}的主要功能是{o}。" },
      { say: "{s}的作用是{o}。" },
      { ask: "{s}的主要功能是什么？", reply: "{s}的主要功能是{o}。" },
      { ask: "{s}有什么用？", reply: "用来{o}。" },
      { ask: "请问{s}有什么作用？", reply: "作用是{o}。", held: true },
    ],
    en: [
      { say: "The main job of {s} is {o}." },
      { say: "The purpose of {s} is {o}." },
      { ask: "What is the main job of {s}?", reply: "The main job of {s} is {o}." },
      { ask: "What is the job of {s}?", reply: "It is {o}." },
      { ask: "Can you tell me the main job of {s}?", reply: "The job is {o}.", held: true },
    ],
  },
  animal: {
    zh: [
      { say: "{s}是{o}。" },
      { say: "{s}属于{o}。" },
      { ask: "{s}是什么动物？", reply: "{s}是{o}。" },
      { ask: "{s}属于哪一类动物？", reply: "属于{o}。" },
      { ask: "请问{s}是哪一类动物？", reply: "{s}属于{o}。", held: true },
    ],
    en: [
      { say: "{s} is {o}." },
      { say: "We know that {s} is {o}." },
      { ask: "What kind of animal is {s}?", reply: "{s} is {o}." },
      { ask: "What is {s}?", reply: "It is {o}." },
      { ask: "Can you tell me what kind of animal {s} is?", reply: "It is {o}.", held: true },
    ],
  },
  food: {
    zh: [
      { say: "{s}主要吃{o}。" },
      { say: "{s}的主要食物是{o}。" },
      { ask: "{s}吃什么？", reply: "{s}主要吃{o}。" },
      { ask: "{s}的主要食物是什么？", reply: "是{o}。" },
      { ask: "请问{s}主要吃什么？", reply: "主要吃{o}。", held: true },
    ],
    en: [
      { say: "{s} mainly eats {o}." },
      { say: "The main food of {s} is {o}." },
      { ask: "What does {s} eat?", reply: "{s} mainly eats {o}." },
      { ask: "What is the main food of {s}?", reply: "It is {o}." },
      { ask: "What does {s} live on?", reply: "It mainly eats {o}.", held: true },
    ],
  },
} as const satisfies Record<keyof typeof science, Wordings>;
