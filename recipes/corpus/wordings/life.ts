import type { Operation } from "../facts/arithmetic.ts";
import type { life } from "../facts/life.ts";
import type { Wordings } from "./types.ts";

export const lifeWordings = {
  count: {
    zh: [
      { say: "{s}有{o}。" },
      { say: "大家都知道，{s}有{o}。" },
      { ask: "关于{s}，你知道什么？", reply: "{s}有{o}。" },
      { say: "数一数就知道，{s}一共有{o}。", held: true },
    ],
    en: [
      { say: "{s} has {o}." },
      { say: "Everyone knows that {s} has {o}." },
      { ask: "What can you say about {s}?", reply: "{s} has {o}." },
      { say: "Count them, and you will see that {s} has {o}.", held: true },
    ],
  },
  colour: {
    zh: [
      { say: "{s}是{o}的。" },
      { say: "{s}的颜色是{o}。" },
      { ask: "{s}是什么颜色的？", reply: "{s}是{o}的。" },
      { ask: "{s}的颜色是什么？", reply: "是{o}。" },
      { ask: "请问{s}是什么颜色？", reply: "颜色是{o}。", held: true },
    ],
    en: [
      { say: "{s} is {o}." },
      { say: "The colour of {s} is {o}." },
      { ask: "What colour is {s}?", reply: "{s} is {o}." },
      { ask: "What is the colour of {s}?", reply: "It is {o}." },
      { ask: "Can you tell me the colour of {s}?", reply: "The colour is {o}.", held: true },
    ],
  },
  opposite: {
    zh: [
      { say: "“{s}”的反义词是“{o}”。" },
      { say: "“{s}”和“{o}”意思相反。" },
      { ask: "“{s}”的反义词是什么？", reply: "是“{o}”。" },
      { ask: "“{o}”的反义词是什么？", reply: "“{o}”的反义词是“{s}”。" },
      { ask: "请问和“{s}”意思相反的词是什么？", reply: "是“{o}”。", held: true },
    ],
    en: [
      { say: 'The opposite of "{s}" is "{o}".' },
      { say: 'The words "{s}" and "{o}" are opposites.' },
      { ask: 'What is the opposite of "{s}"?', reply: 'It is "{o}".' },
      { ask: 'What is the opposite of "{o}"?', reply: 'The opposite of "{o}" is "{s}".' },
      { ask: 'Which word is the opposite of "{s}"?', reply: 'The opposite is "{o}".', held: true },
    ],
  },
  word: {
    zh: [
      { say: "“{s}”的英语是“{o}”。" },
      { say: "“{o}”的意思是“{s}”。" },
      { ask: "“{s}”用英语怎么说？", reply: "“{s}”的英语是“{o}”。" },
      { ask: "“{o}”是什么意思？", reply: "意思是“{s}”。" },
      { ask: "请问“{s}”的英语是什么？", reply: "是“{o}”。", held: true },
    ],
    en: [
      { say: 'The English word for "{s}" is "{o}".' },
      { say: 'In Chinese, "{o}" is "{s}".' },
      { ask: 'How do you say "{s}" in English?', reply: 'You say "{o}".' },
      { ask: 'What does "{s}" mean?', reply: 'It means "{o}".' },
      { ask: 'What is the English word for "{s}"?', reply: 'It is "{o}".', held: true },
    ],
  },
  tool: {
    zh: [
      { say: "{s}可以用来{o}。" },
      { say: "人们用{s}{o}。" },
      { ask: "{s}有什么用？", reply: "{s}可以用来{o}。" },
      { ask: "人们用什么{o}？", reply: "用{s}。" },
      { ask: "请问{s}是做什么用的？", reply: "用来{o}。", held: true },
    ],
    en: [
      { say: "{s} is used for {o}." },
      { say: "For {o}, people use {s}." },
      { ask: "What is {s} used for?", reply: "It is used for {o}." },
      { ask: "What do people use for {o}?", reply: "They use {s}." },
      { ask: "What do people use {s} for?", reply: "They use it for {o}.", held: true },
    ],
  },
  workplace: {
    zh: [
      { say: "{s}在{o}工作。" },
      { say: "{s}工作的地方是{o}。" },
      { ask: "{s}在哪里工作？", reply: "{s}在{o}工作。" },
      { ask: "谁在{o}工作？", reply: "{s}在{o}工作。" },
      { ask: "请问{s}工作的地方是哪里？", reply: "是{o}。", held: true },
    ],
    en: [
      { say: "{s} works in {o}." },
      { say: "The place where {s} works is {o}." },
      { ask: "Where does {s} work?", reply: "{s} works in {o}." },
      { ask: "Who works in {o}?", reply: "{s} does." },
      { ask: "Can you tell me where {s} works?", reply: "The place is {o}.", held: true },
    ],
  },
  festival: {
    zh: [
      { say: "{s}，人们吃{o}。" },
      { say: "{s}的传统食物是{o}。" },
      { ask: "{s}吃什么？", reply: "{s}吃{o}。" },
      { ask: "{s}的传统食物是什么？", reply: "是{o}。" },
      { ask: "请问{s}人们吃什么？", reply: "人们吃{o}。", held: true },
    ],
    en: [
      { say: "At {s}, people eat {o}." },
      { say: "The traditional food of {s} is {o}." },
      { ask: "What do people eat at {s}?", reply: "At {s}, people eat {o}." },
      { ask: "What is the food of {s}?", reply: "It is {o}." },
      { ask: "Which food do people eat at {s}?", reply: "People eat {o}.", held: true },
    ],
  },
  author: {
    zh: [
      { say: "{s}的作者是{o}。" },
      { say: "{o}写了{s}。" },
      { ask: "{s}的作者是谁？", reply: "{s}的作者是{o}。" },
      { ask: "{s}是谁写的？", reply: "是{o}写的。" },
      { ask: "请问谁是{s}的作者？", reply: "是{o}。", held: true },
    ],
    en: [
      { say: 'The author of "{s}" is {o}.' },
      { say: '{o} wrote "{s}".' },
      { ask: 'Who wrote "{s}"?', reply: 'The author of "{s}" is {o}.' },
      { ask: 'Who is the author of "{s}"?', reply: "It is {o}." },
      { ask: 'Can you tell me who wrote "{s}"?', reply: "The author is {o}.", held: true },
    ],
  },
  dish: {
    zh: [
      { say: "在长沙，人们用{o}做{s}。" },
      { say: "做{s}要用{o}。" },
      { ask: "{s}是用什么做的？", reply: "{s}是用{o}做的。" },
      { ask: "{s}的主要材料是什么？", reply: "是{o}。" },
      { ask: "请问做{s}要用什么？", reply: "要用{o}。", held: true },
    ],
    en: [
      { say: "The main ingredient of {s} is {o}." },
      { say: "In Changsha, {s} is made with {o}." },
      { ask: "What is {s} made with?", reply: "It is made with {o}." },
      { ask: "What is the main ingredient of {s}?", reply: "The main ingredient of {s} is {o}." },
      { ask: "What do people in Changsha use to make {s}?", reply: "They use {o}.", held: true },
    ],
  },
} as const satisfies Record<keyof typeof life, Wordings>;

export const arithmeticWordings = {
  add: {
    zh: [
      { say: "{a}+{b}={o}。" },
      { say: "{s}等于{o}。" },
      { ask: "{a}+{b}等于几？", reply: "{a}+{b}={o}。" },
      { say: "{name}有{a}个{fruit}，妈妈又给了{b}个，一共是{a}+{b}={o}个{fruit}。" },
      { ask: "请问{s}是多少？", reply: "等于{o}。", held: true },
    ],
    en: [
      { say: "{a}+{b}={o}." },
      { say: "{s} is {o}." },
      { ask: "What is {s}?", reply: "{a}+{b}={o}." },
      { say: "{name} scored {a} in the first game and {b} in the second. {a}+{b}={o}, so the total is {o}." },
      { ask: "How much is {s}?", reply: "It is {o}.", held: true },
    ],
  },
  subtract: {
    zh: [
      { say: "{a}-{b}={o}。" },
      { say: "{s}等于{o}。" },
      { ask: "{a}-{b}等于几？", reply: "{a}-{b}={o}。" },
      { say: "篮子里有{a}个{fruit}，{name}拿走了{b}个，还剩{a}-{b}={o}个{fruit}。" },
      { ask: "请问{s}是多少？", reply: "等于{o}。", held: true },
    ],
    en: [
      { say: "{a}-{b}={o}." },
      { say: "{s} is {o}." },
      { ask: "What is {s}?", reply: "{a}-{b}={o}." },
      { say: "{name} had {a} points and lost {b}. {a}-{b}={o}, so the score is now {o}." },
      { ask: "How much is {s}?", reply: "It is {o}.", held: true },
    ],
  },
  multiply: {
    zh: [
      { say: "{a}×{b}={o}。" },
      { say: "{s}等于{o}。" },
      { ask: "{a}×{b}等于几？", reply: "{a}×{b}={o}。" },
      { ask: "请问{s}是多少？", reply: "等于{o}。", held: true },
    ],
    en: [
      { say: "{a}×{b}={o}." },
      { say: "{s} is {o}." },
      { ask: "What is {s}?", reply: "{a}×{b}={o}." },
      { ask: "How much is {s}?", reply: "It is {o}.", held: true },
    ],
  },
  divide: {
    zh: [
      { say: "{a}÷{b}={o}。" },
      { say: "{s}等于{o}。" },
      { ask: "{a}÷{b}等于几？", reply: "{a}÷{b}={o}。" },
      { ask: "请问{s}是多少？", reply: "等于{o}。", held: true },
    ],
    en: [
      { say: "{a}÷{b}={o}." },
      { say: "{s} is {o}." },
      { ask: "What is {s}?", reply: "{a}÷{b}={o}." },
      { ask: "How much is {s}?", reply: "It is {o}.", held: true },
    ],
  },
} as const satisfies Record<Operation, Wordings>;
